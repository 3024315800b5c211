"""The folder of runs that other machines train: whether they share it with the one that asks for the runs."""

import socket
import time
from collections.abc import Iterable
from pathlib import Path

from biograd import records
from biograd.errors import RunFailed, UserMistake
from biograd.executor import LOOK_EVERY

PATIENCE = 120.0
"""Seconds after which what one machine has written is seen by another; network file systems take up to one minute."""


def require_shared(place: Path) -> None:
    """Refuse, on the machine that is to train a run, a place that the machine that asks has made and this one lacks.

    Raises:
        UserMistake: the run's folder would lie in none.
    """
    if not place.parent.is_dir():
        raise UserMistake(
            f"{socket.gethostname()} has no folder {place.parent.absolute()}, where the runs lie: give one that all "
            "machines share, at the same path"
        )


def await_records(places: Iterable[Path]) -> None:
    """Wait, on the machine that asked, until the results are here of runs that others have finished.

    Raises:
        RunFailed: they do not come.
    """
    until = time.monotonic() + PATIENCE
    for place in places:
        while not records.exists(place / records.RESULT):
            if time.monotonic() > until:
                raise RunFailed(
                    f"{place} was trained on another machine, and its records do not come here: give a folder that all "
                    "machines share, at the same path"
                )
            time.sleep(LOOK_EVERY)
