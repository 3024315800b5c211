"""What runs have recorded of the checks beside accuracy and angle, each the worst that any of the runs has met."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from biograd.checks import CONSTANT, EXPLODING, VANISHED
from biograd.records.run import Run
from biograd.records.schema import number


class Check(NamedTuple):
    """What came of a check.

    Attributes:
        value: the worst.
        layer: where it was met.
        is_flagged: whether it is beyond its threshold.
    """

    value: float
    layer: str
    is_flagged: bool


def growth(runs: Iterable[Run]) -> Check | None:
    """The most that a block's activity was above that of the block below; None where it was not measured."""
    found = max(_points(runs, "signal_growth"), default=None)
    return found and Check(*found, found[0] > EXPLODING)


def reference(runs: Iterable[Run]) -> Check | None:
    """The smallest norm of backpropagation's own gradient of a weight."""
    found = min(_points(runs, "reference_norm"), default=None)
    return found and Check(*found, found[0] < VANISHED)


def batch_stability(runs: Iterable[Run]) -> Check | None:
    """The cosine between teaching signals of two halves of a batch; see `step_stability`."""
    return _stability(runs, "batch_stability")


def step_stability(runs: Iterable[Run]) -> Check | None:
    """The cosine between teaching signals of two moments, mean over the measurements, where it is largest.

    Of the hidden blocks: the last one is told the error itself by every rule.
    """
    return _stability(runs, "step_stability")


def kept_bytes(runs: Iterable[Run]) -> float | None:
    """The most that a step kept in any measurement; None where it was not measured."""
    found = [
        value
        for run in runs
        for row in run.diagnostics
        if row["quantity"] == "kept_bytes" and (value := number(row, "value")) is not None
    ]
    return max(found, default=None)


def _stability(runs: Iterable[Run], quantity: str) -> Check | None:
    by_layer: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for layer, values in _measured(run, quantity)[:-1]:
            by_layer[layer] += values
    found = max(((statistics.fmean(values), layer) for layer, values in by_layer.items()), default=None)
    return found and Check(*found, found[0] >= CONSTANT)


def _points(runs: Iterable[Run], quantity: str) -> list[tuple[float, str]]:
    return [(value, layer) for run in runs for layer, values in _measured(run, quantity) for value in values]


def _measured(run: Run, quantity: str) -> Sequence[tuple[str, list[float]]]:
    """The values of a quantity by layer, in the order of layers; those that are undefined are left out."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in run.diagnostics:
        if row["quantity"] == quantity and (value := number(row, "value")) is not None:
            found[str(row.get("layer"))].append(value)
    return list(found.items())
