"""PyTorch's attention, whose projections lie in one parameter where queries, keys and values are equally wide."""

from torch import nn

from biograd.credit.kinds.layer_kind import LayerKind

ATTENTION = LayerKind(
    types=(nn.MultiheadAttention,), stacked=lambda layer, name: 3 if name == "in_proj_weight" else 1
)
