"""How many of a block's units count: those that `FirstUnits` passes on."""

from torch import nn

from biograd.credit.back.inverses import weight_matrices
from biograd.credit.chain.blocks import Block
from biograd.layers import FirstUnits

_UNIT_BY_UNIT = (
    *(
        nn.Identity,
        nn.ReLU,
        nn.LeakyReLU,
        nn.PReLU,
        nn.ELU,
        nn.GELU,
        nn.SiLU,
        nn.Softplus,
        nn.Tanh,
        nn.Sigmoid,
    ),
    *(nn.Hardtanh, nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd),
)


def used_units(block: Block) -> int | None:
    """How many units the block passes on, None for all; counted where what comes before `FirstUnits` mixes no units."""
    for layer in block.following:
        if isinstance(layer, FirstUnits):
            out = weight_matrices(block.opening).shape[-1]
            return layer.count if layer.count < out and getattr(block.opening, "groups", 1) == 1 else None
        if not isinstance(layer, _UNIT_BY_UNIT):
            return None
    return None
