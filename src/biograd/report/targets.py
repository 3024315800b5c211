"""Figures of what target propagation depends on: its targets, its decoders, and the inverses of weights."""

from biograd.report.drawing import Drawing
from biograd.report.layer_panels import Quantity, over_time
from biograd.report.table import Table

_QUANTITIES = (
    Quantity(
        "target_distance",
        "How far targets are from what the blocks give",
        "Distance between a block's output and the target that the rule sets for it, divided by the length of the "
        "output; a block is a layer with weights and what follows it, named by the layer; logarithmic, so that no "
        "distance (nothing to learn) is not drawn. 1: as far away as the output is long.",
        is_of_blocks=True,
    ),
    Quantity(
        "reconstruction_loss",
        "How well decoders give back what their blocks were given",
        "Squared error of a block's input as its decoder reconstructs it from the block's output, divided by the "
        "square of the input, without noise; logarithmic. 0 would be an exact inverse; 1 (dashed): no better than "
        "always saying zero.",
        reference=1.0,
        is_of_blocks=True,
    ),
    Quantity(
        "orthogonality",
        "How far weights are from orthogonal, where the rule uses their inverse",
        "Root-mean-square of σ² − 1 over the singular values σ of a weight W, which is ‖WWᵀ − I‖/√n; logarithmic. "
        "Where it is small, the inverse is nearly the transpose, which backpropagation uses. A matrix of zeros has 1.",
    ),
)


def targets(table: Table) -> list[Drawing]:
    """What was measured of targets, decoders and inverses, over time, a panel for each layer."""
    return over_time(table, _QUANTITIES)
