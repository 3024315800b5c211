"""The rows of a run, line by line as they come."""

from typing import TYPE_CHECKING

from biograd import records
from biograd.training.observers.base import EpochEnded, Measured, Moment, Observer

if TYPE_CHECKING:
    from biograd.training.trainer import Trainer


class Records(Observer):
    """Writes ``metrics.jsonl`` and ``diagnostics.jsonl``."""

    def notice(self, moment: Moment, run: "Trainer") -> None:
        """Append what has come; an epoch's row is on the disk before a checkpoint counts on it."""
        match moment:
            case Measured(rows):
                for row in rows:
                    records.append_line(run.folder / records.DIAGNOSTICS, dict(row))
            case EpochEnded(row):
                records.append_line(run.folder / records.METRICS, dict(row), durable=True)
