"""Cells of the two-layer simulations as records: a file each, in processes, and none made twice."""

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from biograd.errors import RunFailed, UserMistake
from biograd.records import environment, exists, read_json, refuse_packed, write_json
from biograd.theory.setting import Setting
from biograd.theory.two_layer import CURVES, Outcome, simulate, trials_at_once

Record = dict[str, Any]
"""``config environment seconds outcomes``: what a cell's file holds."""


@dataclass(frozen=True)
class Cell:
    """What one file is about.

    Attributes:
        setting: how its trials are simulated.
        trials: how many, ≥ 1.
        follow: steps from point to point of the curves that are kept; None for a fiftieth of the least number of
            steps.

    Raises:
        UserMistake: there is no trial, or no step between points.
    """

    setting: Setting
    trials: int
    follow: int | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "follow"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise UserMistake(f"{name} must be at least 1, got {given}")

    @property
    def config(self) -> Record:
        """All that its outcomes depend on, as JSON has it: the setting, what follows from it, trials and points."""
        follows = {"rate": self.setting.rate, "stopping": dataclasses.asdict(self.setting.stopping)}
        whole = {**dataclasses.asdict(self.setting), **follows, "trials": self.trials, "follow": self.gap}
        return json.loads(json.dumps(whole))

    @property
    def gap(self) -> int:
        """Steps from point to point of the curves."""
        return self.follow or -(-self.setting.stopping.least // 50)

    @property
    def file_name(self) -> str:
        """A name of its own for each configuration."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:10]
        return f"{self.setting.activation}-{self.setting.width}-{self.setting.method}-{digest}.json"

    def load(self, folder: Path) -> Record | None:
        """The finished record in a folder, None where there is none.

        Raises:
            UserMistake: the file is of another configuration, or corrupted.
        """
        path = folder / self.file_name
        if not exists(path):
            return None
        record = read_json(path)
        if record.get("config") != self.config or "outcomes" not in record:
            raise UserMistake(f"{path} is not the record that its name says: remove it")
        return record


def run(
    cells: Sequence[Cell], folder: Path, *, jobs: int = 1, tell: Callable[[int], object] = lambda done: None
) -> list[Record]:
    """Simulate the cells that a folder lacks, and return the records of all.

    A cell's file is written, in one step, when all its trials are done. The trials of cells are shared out among
    processes of one thread each, the longest first, in the chunks in which they would go together anyway: numbers do
    not depend on ``jobs``.

    Args:
        cells: what is wanted.
        folder: where the records lie; made where there is none.
        jobs: how many processes, ≥ 1; 1 works in this one.
        tell: is called with the number of trials done so far, those of finished cells included.

    Raises:
        UserMistake: a record in the folder is corrupted, or one is missing in a packed file.
        RunFailed: a record cannot be written, or a process was killed.
    """
    found = {cell: record for cell in cells if (record := cell.load(folder)) is not None}
    done = sum(cell.trials for cell in found)
    tell(done)
    if len(found) < len(set(cells)):
        refuse_packed(folder)
        folder.mkdir(parents=True, exist_ok=True)
    with _one_thread():
        here, parts = environment(), {cell: _Parts(cell) for cell in cells if cell not in found}
        for cell, part in _worked(_shares(list(parts)), jobs):
            parts[cell].add(part)
            done += len(part.trials)
            if parts[cell].is_whole:
                found[cell] = parts[cell].record(here)
                write_json(folder / cell.file_name, found[cell])
            tell(done)
    return [found[cell] for cell in cells]


@dataclass(frozen=True)
class _Part:
    """Some trials of a cell, simulated."""

    trials: range
    outcomes: list[Outcome]
    seconds: float


class _Parts:
    """What there is of a cell so far."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.outcomes, self.seconds = cell, list[Outcome](), 0.0

    def add(self, part: _Part) -> None:
        self.outcomes += part.outcomes
        self.seconds += part.seconds

    @property
    def is_whole(self) -> bool:
        return len(self.outcomes) == self.cell.trials * len(self.cell.setting.regularization)

    def record(self, here: Record) -> Record:
        """What is written; trials in order, whoever was the first to be done."""
        outcomes = sorted(self.outcomes, key=lambda outcome: outcome.trial)
        return {
            "config": self.cell.config,
            "environment": here,
            "seconds": self.seconds,
            "outcomes": [_short(dataclasses.asdict(outcome)) for outcome in outcomes],
        }


def _short(outcome: Record) -> Record:
    """The same with six digits of each point of its curves."""
    curves = {name: [float(f"{value:.6g}") for value in outcome["curves"][name]] for name in CURVES}
    return {**outcome, "curves": {"steps": outcome["curves"]["steps"], **curves}}


def _shares(cells: Sequence[Cell]) -> list[tuple[Cell, range]]:
    """Chunks of trials, those that take longest first."""
    shares = []
    for cell in sorted(cells, key=lambda cell: -cell.setting.stopping.least * cell.setting.width):
        size = trials_at_once(cell.setting)
        shares += [
            (cell, range(start, min(start + size, cell.trials))) for start in range(0, cell.trials, size)
        ]
    return shares


def _worked(shares: Sequence[tuple[Cell, range]], jobs: int) -> Iterator[tuple[Cell, _Part]]:
    """Each share simulated, in any order; what is at work when this is left early is ended, not waited for."""
    if jobs == 1 or len(shares) < 2:
        yield from map(_simulated, shares)
        return
    quietly = (signal.SIGINT, signal.SIG_DFL)  # an interrupt ends the processes without a traceback each
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), signal.signal, quietly)
    try:
        futures: list[Future] = [pool.submit(_simulated, share) for share in shares]
        for future in as_completed(futures):
            yield future.result()
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise RunFailed(
                "a process was killed, perhaps for want of memory: fewer jobs need less"
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _simulated(share: tuple[Cell, range]) -> tuple[Cell, _Part]:
    cell, trials = share
    began = time.perf_counter()
    with _one_thread():
        outcomes = simulate(cell.setting, trials, follow=cell.gap, chunk=len(trials))
    return cell, _Part(trials, outcomes, time.perf_counter() - began)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch work in one thread; afterwards it has as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
