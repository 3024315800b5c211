"""Checkpoints, so that a run that is killed goes on from the last."""

import math
import time
from typing import TYPE_CHECKING, ClassVar

from biograd import records
from biograd.training import checkpoint, folder
from biograd.training.observers.base import AtRest, Moment, Observer

if TYPE_CHECKING:
    from biograd.training.trainer import Trainer

MINIMUM_GAP = 1.0
"""Seconds since the last checkpoint below which the end of an epoch makes none."""


class Checkpoints(Observer):
    """Makes a checkpoint within an epoch every so many steps, at the end of epochs, and at the end of the run.

    Args:
        every: steps between two within an epoch; 0 for none.
    """

    is_everywhere: ClassVar[bool] = True  # what the other processes hold is gathered

    def __init__(self, *, every: int) -> None:
        self.every, self._saved = every, -math.inf

    def notice(self, moment: Moment, run: "Trainer") -> None:
        """Make one when it is time to; in all processes at once."""
        match moment:
            case AtRest(is_epoch=True, is_last=is_last):
                since = time.monotonic() - self._saved
                ends = is_last or run.position.stopped is not None  # perhaps asked for at this very moment
                if run.ranks.agree(ends or since >= MINIMUM_GAP):  # clocks differ between processes
                    self._save(run)
            case AtRest() if self.every and run.position.step % self.every == 0:
                with run.clock.paused():
                    self._save(run)

    def _save(self, run: "Trainer") -> None:
        state = run.state()
        if run.ranks.first:
            folder.sync_diagnostics(run.folder)
            checkpoint.save(run.folder / records.CHECKPOINT, state, run.config.digest())
        self._saved = time.monotonic()
