"""What the activity of blocks has grown by while a run lasted, of the rows that it measured."""

from collections.abc import Iterable

from biograd.records.rows import DiagnosticsRow
from biograd.records.schema import number

GROWN = 50.0
"""From where on tables say what a block's activity has grown by."""


def growth(rows: Iterable[DiagnosticsRow]) -> dict[str, float]:
    """Name of each block to its activity when it was last measured, as a multiple of that when it first was.

    Args:
        rows: of ``diagnostics.jsonl``, in the order of steps.

    Returns:
        Empty where activity was not measured; blocks that were silent at first, or not finite in the end, are left out.

    Example:
        >>> growth([
        ...     {"step": step, "epoch": 1, "quantity": "activity", "layer": "0", "value": value}
        ...     for step, value in ((0, 2.0), (10, 5.0))
        ... ])
        {'0': 2.5}
    """
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for row in rows:
        value = number(row, "value")
        if row["quantity"] == "activity" and value is not None:
            layer = str(row.get("layer"))
            first.setdefault(layer, value)
            last[layer] = value
    return {layer: last[layer] / value for layer, value in first.items() if value > 0}
