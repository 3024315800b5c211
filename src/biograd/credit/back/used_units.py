"""How many of a block's units count: those that `FirstUnits` passes on."""

from biograd.credit.back.weight_matrices import weight_matrices
from biograd.credit.chain.blocks import Block
from biograd.credit.kinds import is_unit_by_unit
from biograd.layers import FirstUnits


def used_units(block: Block) -> int | None:
    """How many units the block passes on, None for all; counted where what comes before `FirstUnits` mixes no units."""
    for layer in block.following:
        if isinstance(layer, FirstUnits):
            out = weight_matrices(block.opening).shape[-1]
            return layer.count if layer.count < out and getattr(block.opening, "groups", 1) == 1 else None
        if not is_unit_by_unit(layer):
            return None
    return None
