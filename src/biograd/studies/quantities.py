"""What can be measured of a run that is done: a number in its records, by name."""

import statistics
from dataclasses import dataclass
from typing import Protocol

from biograd.records import Run, number
from biograd.records.study import Unit
from biograd.tasks import metric_of
from biograd.training.config import EVERY_EPOCH, ReadTest


class Quantity(Protocol):
    """A number that each run has, or has not."""

    @property
    def title(self) -> str:
        """What tables call it."""
        ...

    @property
    def unit(self) -> Unit:
        """What it is measured in."""
        ...

    @property
    def reads_test(self) -> ReadTest:
        """Whether it is of the test set, and which ``read_test`` the runs need that have it."""
        ...

    def of(self, run: Run) -> float | None:
        """Its value in a run that is done; None where it was not recorded."""
        ...


@dataclass(frozen=True)
class AtEnd:
    """An entry of ``result.json``.

    Attributes:
        entry: ``"test_accuracy"``, ``"test_balanced_accuracy"``, ``"seconds"``, …
    """

    entry: str

    @property
    def title(self) -> str:
        """``test accuracy``."""
        return self.entry.replace("_", " ")

    @property
    def unit(self) -> Unit:
        """By the name of the entry."""
        return _unit(self.entry)

    @property
    def reads_test(self) -> bool:
        """By the name of the entry."""
        return self.entry.startswith("test_")

    def of(self, run: Run) -> float | None:
        """Its value."""
        return number(run.result or {}, self.entry)


@dataclass(frozen=True)
class AtEpoch:
    """An entry of the line of ``metrics.jsonl`` that one epoch has left.

    Attributes:
        entry: ``"validation_accuracy"``, ``"train_loss"``, …
        epoch: from 1.
    """

    entry: str
    epoch: int

    @property
    def title(self) -> str:
        """``validation accuracy, epoch 31``."""
        return f"{self.entry.replace('_', ' ')}, epoch {self.epoch}"

    @property
    def unit(self) -> Unit:
        """By the name of the entry."""
        return _unit(self.entry)

    @property
    def reads_test(self) -> ReadTest:
        """By the name of the entry."""
        return EVERY_EPOCH if self.entry.startswith("test_") else False

    def of(self, run: Run) -> float | None:
        """Its value; None in a run of fewer epochs."""
        rows = [row for row in run.metrics if row["epoch"] == self.epoch]
        return number(rows[0], self.entry) if rows else None


@dataclass(frozen=True)
class BestEpoch:
    """The best that a metric of the test set was after any epoch, as papers report it that choose their epoch so.

    It stands beside their numbers, and nothing is chosen by it. Runs have it that read the test set after every epoch:
    ``read_test`` = ``every-epoch``.

    Attributes:
        entry: ``"test_accuracy"``, …
    """

    entry: str

    @property
    def title(self) -> str:
        """``test accuracy, best epoch on the test set``."""
        return f"{self.entry.replace('_', ' ')}, best epoch on the test set"

    @property
    def unit(self) -> Unit:
        """By the name of the entry."""
        return _unit(self.entry)

    @property
    def reads_test(self) -> ReadTest:
        """After every epoch."""
        return EVERY_EPOCH

    def of(self, run: Run) -> float | None:
        """The best of all epochs."""
        return run.best_of_epochs(self.entry)


@dataclass(frozen=True)
class Diagnostic:
    """What ``diagnostics_every`` measured of a layer, averaged over the measurements of an epoch.

    Attributes:
        quantity: ``"gradient_angle"``, ``"feedback_angle"``, … as ``diagnostics.jsonl`` calls it.
        layer: the name of the parameter or block.
        epoch: from 1; None for the last one measured.
    """

    quantity: str
    layer: str
    epoch: int | None = None

    @property
    def title(self) -> str:
        """``gradient angle of 0.weight, epoch 3``."""
        place = f"{self.quantity.replace('_', ' ')} of {self.layer}"
        return place if self.epoch is None else f"{place}, epoch {self.epoch}"

    @property
    def unit(self) -> Unit:
        """Angles are in degrees."""
        return "degrees" if self.quantity.endswith("angle") else "number"

    @property
    def reads_test(self) -> bool:
        """Never: rules are measured on what they are about to be taught."""
        return False

    def of(self, run: Run) -> float | None:
        """The mean over that epoch's measurements."""
        rows = [
            row
            for row in run.diagnostics
            if (row["quantity"], row.get("layer")) == (self.quantity, self.layer)
        ]
        epoch = max((row["epoch"] for row in rows), default=None) if self.epoch is None else self.epoch
        values = [number(row, "value") for row in rows if row["epoch"] == epoch]
        finite = [value for value in values if value is not None]
        return statistics.fmean(finite) if finite else None


def _unit(entry: str) -> Unit:
    if (metric := metric_of(entry)) is not None and metric.is_share:
        return "fraction"
    return "seconds" if entry == "seconds" else "number"
