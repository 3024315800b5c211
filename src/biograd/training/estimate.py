"""How long runs will take, from a few steps of each kind of run on this machine."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from biograd import records
from biograd.errors import RunFailed
from biograd.records import EpochRow
from biograd.training.config import RunConfig
from biograd.training.distributed import Ranks
from biograd.training.run_setup import RunSetup
from biograd.training.seeding import settled
from biograd.training.trainer import Diverged, Trainer

TIMED = 0.2
"""Seconds of steps by which an epoch is estimated."""


class Workload(NamedTuple):
    """What is left to train.

    Attributes:
        runs: how many.
        epochs: of all of them.
        seconds: one run after another, of steps and of what is made before them; what is measured between them, and
            checkpoints, are not counted.
    """

    runs: int
    epochs: int
    seconds: float

    def __str__(self) -> str:
        """As a user reads it.

        Example:
            >>> str(Workload(12, 36, 95.0))
            '12 runs with 36 epochs in all, about 95 s of training'
        """
        runs = "1 run" if self.runs == 1 else f"{self.runs} runs"
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"{runs} with {epochs} in all, about {duration(self.seconds)} of training"


class Pace(NamedTuple):
    """Seconds that it takes to make what a run trains with, and those of an epoch."""

    start: float
    epoch: float


def pace(setup: RunSetup, start: float) -> Pace:
    """Time a few steps of a run, whose setup is spent by it.

    Args:
        setup: made for this.
        start: seconds that it took to make.
    """
    config = setup.config
    with settled(seed=0, threads=config.threads, deterministic=config.deterministic, device=setup.device):
        try:
            epoch = Trainer(setup, Ranks(setup.device), Path()).seconds_of_an_epoch(TIMED)
        except (Diverged, RunFailed):
            epoch = 0.0  # the run itself will end as soon
    return Pace(start, epoch)


def estimate(waiting: Mapping[Path, RunConfig], paces: Mapping[Path, Pace]) -> Workload:
    """What runs that are not finished will take.

    Args:
        waiting: their folders, and what is trained there.
        paces: of each of them.
    """
    left = {place: config.epochs - _done(place) for place, config in waiting.items()}
    seconds = sum(paces[place].start + epochs * paces[place].epoch for place, epochs in left.items())
    return Workload(len(left), sum(left.values()), seconds)


def total(estimates: Iterable[Workload]) -> Workload:
    """That of all of them.

    Example:
        >>> total([Workload(1, 2, 3.0), Workload(10, 20, 30.0)])
        Workload(runs=11, epochs=22, seconds=33.0)
    """
    runs, epochs, seconds = (sum(one) for one in zip(*estimates, strict=True))
    return Workload(int(runs), int(epochs), seconds)


def duration(seconds: float) -> str:
    """Seconds as a user reads them.

    Example:
        >>> [duration(value) for value in (0.2, 59, 400, 30000, 1e6)]
        ['1 s', '59 s', '7 min', '8.3 h', '11.6 days']
    """
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    if seconds < 120 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


def _done(place: Path) -> int:
    return len(records.read_rows(place / records.METRICS, EpochRow))
