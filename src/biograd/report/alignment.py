"""Figures of how a rule's updates, and its feedback, lie to those of backpropagation."""

from biograd.report.drawing import Drawing
from biograd.report.layer_panels import Quantity, over_time
from biograd.report.table import Table

_QUANTITIES = (
    Quantity(
        "gradient_angle",
        "Angle between a rule's update and backpropagation's (degrees)",
        "On the same batch, for each weight. 0°: the same direction; 90° (dashed): unrelated.",
        reference=90.0,
        is_angle=True,
    ),
    Quantity(
        "feedback_angle",
        "Angle between feedback and forward weights (degrees)",
        "For each weight that errors travel back through. 0°: those of backpropagation; 90° (dashed): unrelated.",
        reference=90.0,
        is_angle=True,
    ),
    Quantity(
        "error_cosine",
        "Cosine between the errors that a rule sends below a layer and backpropagation's",
        "Mean over the examples of a batch, by the weight that the errors came back through. 1: the same direction; "
        "0 (dashed): unrelated.",
        reference=0.0,
        is_cosine=True,
    ),
    Quantity(
        "norm_ratio",
        "Norm of a rule's update, as a multiple of backpropagation's",
        "On the same batch, for each weight; logarithmic. 1 (dashed): the same length.",
        reference=1.0,
    ),
)


def alignment(table: Table) -> list[Drawing]:
    """Angles and norm ratio over time, a figure for each data set and net, a panel for each layer."""
    return over_time(table, _QUANTITIES)
