"""Wherever the disk fails, a command ends with 1 and a line that names a file, and the run goes on with the same bits.

Every operation on a file of the run fails in turn; some of them are tried here, and
``BIOGRAD_DAMAGED=400 pytest tests/end_to_end/test_failing_disk.py`` tries all.
"""

import builtins
import errno
import io
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import safetensors.torch

from biograd import report
from biograd.training import checkpoint
from biograd.training.observers import checkpoints

APART = 1 if int(os.environ.get("BIOGRAD_DAMAGED", "0")) >= 100 else 37
ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.ESTALE, errno.EDQUOT, errno.EROFS)
TRAIN = (
    "train --rule brsf --data iris --net mlp --net.widths 4 --epochs 2 --batch-size 30 --diagnostics-every 2 "
    "--checkpoint-every 2 --lr 0.01 --out run"
)


class FailingDisk:
    """Operations on files below a folder, of which one fails, as the system's calls do: without the file's name."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.root, self.at, self.error, self.count = str(root), -1, 0, 0
        for module, name in ((os, "write"), (os, "fsync"), (os, "ftruncate")):
            patch.setattr(module, name, self._failing(getattr(module, name), lambda fd, *_: _name(fd)))
        for module, name in ((os, "open"), (os, "replace"), (os, "mkdir"), (io, "open"), (builtins, "open")):
            patch.setattr(module, name, self._failing(getattr(module, name), lambda path, *_: path))
        patch.setattr(io, "open", self._reading(io.open))
        patch.setattr(safetensors.torch, "save_file", self._saving(safetensors.torch.save_file))

    def fail(self, at: int, error: int) -> None:
        """Let the operation of this number fail, counted from now on."""
        self.at, self.error, self.count = at, error, 0

    @property
    def has_failed(self) -> bool:
        """Whether there were so many operations."""
        return self.count > self.at

    def _check(self, path: object) -> None:
        if str(path).startswith((self.root, "run")):
            self.count += 1
            if self.count == self.at + 1:
                raise OSError(self.error, os.strerror(self.error))

    def _failing(self, call: Callable, path_of: Callable) -> Callable:
        def checked(*args, **kwargs):
            self._check(path_of(*args))
            return call(*args, **kwargs)

        return checked

    def _saving(self, call: Callable) -> Callable:
        def saved(tensors, path, **kwargs):
            try:
                self._check(path)
            except OSError as error:
                raise safetensors.SafetensorError(f"Error while serializing: I/O error: {error}") from error
            call(tensors, path, **kwargs)

        return saved

    def _reading(self, call: Callable) -> Callable:
        def opened(path, *args, **kwargs):
            file = call(path, *args, **kwargs)
            if not file.readable() or not isinstance(file, io.FileIO):
                return file
            return _Read(path, self._check)

        return opened


class _Read(io.FileIO):
    """A file whose reading is an operation of its own."""

    def __init__(self, path: Path, check: Callable[[object], None]) -> None:
        super().__init__(path)
        self._check = check

    def read(self, size: int = -1) -> bytes:
        self._check(self.name)
        return super().read(size)

    readall = read


def _name(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def bits(folder: Path) -> tuple[object, ...]:
    """What a run that was stopped has in common with one that was not."""
    state, _ = checkpoint.load(folder / "checkpoint.safetensors")
    state["position"]["seconds"] = None
    skeleton, tensors = checkpoint.pack(state)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [{**json.loads(line), "seconds": None} for line in lines]
    weights = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    return json.dumps(skeleton), rows, weights, (folder / "result.json").read_text().count("\n")


@pytest.fixture
def disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "MINIMUM_GAP", 0.0)
    return FailingDisk(monkeypatch, tmp_path / "run")


def failures():
    """Which operation fails, and how, without end."""
    return zip(itertools.count(0, APART), itertools.cycle(ERRORS), strict=False)


def named(ended, error: int) -> None:
    """A failure in one line that names a file of the run and says what the disk said."""
    assert ended.code == 1, ended.err
    lines = [line for line in ended.err.splitlines() if ": warning: " not in line]
    assert len(lines) == 1
    assert "run" in lines[0].partition(": ")[2].partition(";")[0]
    assert os.strerror(error) in lines[0]


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_a_disk_fails_goes_on_with_the_same_bits(disk, tmp_path, biograd):
    run, tried = tmp_path / "run", 0
    assert biograd(TRAIN.replace("--out run", "--out whole")).code == 0
    for at, error in failures():
        shutil.rmtree(run, ignore_errors=True)
        disk.fail(at, error)
        ended = biograd(TRAIN)
        if not disk.has_failed:
            break
        if ended.code:  # that a folder cannot be synced is no failure
            named(ended, error)
        disk.fail(-1, 0)
        again = biograd("resume run") if (run / "config.json").exists() else biograd(TRAIN)
        assert again.code == 0, (at, again.err)
        assert bits(run) == bits(tmp_path / "whole"), at
        assert not list(run.glob(".*.tmp"))
        tried += 1
    assert tried > 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "command",
    ["resume run", "report run", "pack run", "robustness run --attacks fgsm --epsilons 0 --examples 2"],
)
def test_a_finished_run_that_a_disk_fails_is_read_another_time(
    command, disk, tmp_path, biograd, blank_figures, monkeypatch
):
    run = tmp_path / "run"
    monkeypatch.setattr(report, "write_report", lambda folder: folder)  # the same as of biograd report
    assert biograd(TRAIN).code == 0
    records = {path.name: path.read_bytes() for path in run.glob("*.*") if path.is_file()}
    for at, error in failures():
        disk.fail(at, error)
        ended = biograd(command)
        if not disk.has_failed:
            break
        if ended.code:
            named(ended, error)
        disk.fail(-1, 0)
        assert (
            records.items()
            <= {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}.items()
        )
    disk.fail(-1, 0)
    assert biograd(command).code == 0
