import errno
import gc
import io
import os
import subprocess
import sys
import warnings

import pytest
import torch

from biograd.cli import main
from biograd.cli.exits import guarded, replace_unprintable_signs
from biograd.errors import BiogradError, RunFailed, UnsupportedNet, UserMistake

TOO_LARGE = "biograd train: not enough memory: a smaller net or batch needs less\n"


def raising(error: BaseException):
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserMistake("no such rule"), 2, "biograd train: no such rule\n"),
        (UnsupportedNet("an LSTM"), 2, "biograd train: an LSTM\n"),
        (UserMistake("two\nlines  here"), 2, "biograd train: two lines here\n"),
        (RunFailed("diverged"), 1, "biograd train: diverged\n"),
        (BiogradError("else"), 1, "biograd train: else\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "biograd train: No space left on device\n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "runs"),
            1,
            "biograd train: runs: Permission denied\n",
        ),
        (MemoryError(), 1, TOO_LARGE),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"), 1, TOO_LARGE),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), 1, TOO_LARGE),
        (KeyboardInterrupt(), 130, "biograd train: interrupted\n"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_what_goes_wrong_becomes_a_code_and_one_line(capsys, error, code, line):
    assert guarded("biograd train", raising(error)) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", line)


@pytest.mark.parametrize("fault", [ZeroDivisionError(), RuntimeError("shapes do not match")])
def test_a_fault_of_ours_keeps_its_traceback(fault):
    with pytest.raises(type(fault)):
        guarded("biograd train", raising(fault))


def test_what_was_printed_before_a_failure_is_not_lost(capsys):
    def work() -> int:
        print("half")
        raise RunFailed("disk")

    assert guarded("biograd", work) == 1
    assert capsys.readouterr().out == "half\n"


def test_notes_are_said_behind_the_error(capsys):
    error = RunFailed("disk full")
    error.add_note("go on with: biograd resume runs/a")
    guarded("biograd train", raising(error))
    assert capsys.readouterr().err == "biograd train: disk full; go on with: biograd resume runs/a\n"


def test_what_biograd_warns_of_is_one_line_and_said_once(capsys):
    def work() -> int:
        for line in (1, 1, 2):
            warnings.warn_explicit(
                "no decay,\nso B stays", UserWarning, "loop.py", line, module="biograd.cli.train"
            )
        return 0

    assert guarded("biograd train", work) == 0
    assert capsys.readouterr().err == "biograd train: warning: no decay, so B stays\n"


def test_a_sign_that_the_terminal_lacks_does_not_stop_a_command(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    replace_unprintable_signs()
    print("0.5 ± 0.1", flush=True)
    assert stream.buffer.getvalue() == b"0.5 ? 0.1\n"


def start(stdout: int | None, *, closed: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "biograd", "--help"]
    if closed:
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60)


@pytest.fixture(params=["buffered", "unbuffered"])
def _buffering(request, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "1" if request.param == "unbuffered" else "")


@pytest.mark.usefixtures("_buffering")
def test_a_reader_that_goes_away_is_left_in_peace():
    reader, writer = os.pipe()
    os.close(reader)
    done = start(writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.usefixtures("_buffering")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux's")
def test_a_full_disk_under_standard_output_is_one_line():
    with open("/dev/full", "w") as full:
        done = start(full.fileno())
    assert (done.returncode, done.stderr) == (1, "biograd: No space left on device\n")


def test_a_closed_standard_output_is_no_fault():
    done = start(None, closed=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_garbage_is_collected_as_before_when_a_command_is_over(capsys):
    before = gc.get_threshold()
    assert main(["rules"]) == 0
    assert gc.get_threshold() == before
