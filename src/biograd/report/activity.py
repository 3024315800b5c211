"""Figures of how large the activity of blocks is: what it grows to where nothing holds it."""

from biograd.report.drawing import Drawing
from biograd.report.layer_panels import Quantity, over_time
from biograd.report.table import Table

_QUANTITIES = (
    Quantity(
        "activity",
        "Activity of blocks",
        "Root mean square of what each block gives, over the examples of a batch and units; logarithmic. A block is a "
        "part of a chain, named by the layer that opens it, or a layer with weights.",
        is_of_blocks=True,
    ),
)


def activity(table: Table) -> list[Drawing]:
    """Activity over time, a panel for each block."""
    return over_time(table, _QUANTITIES)
