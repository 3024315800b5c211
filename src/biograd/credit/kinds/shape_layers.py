"""Layers without parameters that reshape, pad, drop, pool, or mark the input."""

from typing import Any

import torch
from torch import nn

from biograd.credit.kinds.layer_kind import LayerKind, by_dimension
from biograd.layers import FirstUnits, LabelPlaces, LengthNorm


def _reshaped(layer: nn.Module, before: torch.Size, after: torch.Size) -> list[nn.Module]:
    """Back to the shape before, by way of a flat one."""
    del layer
    flat: list[nn.Module] = [nn.Flatten()] if len(after) > 1 else []
    return [*flat, nn.Unflatten(1, tuple(before))] if len(before) > 1 else flat


def _cut_off(layer: Any, before: torch.Size, after: torch.Size) -> list[nn.Module]:
    """What was padded is cut off, and what was cut off padded."""
    del before, after
    sides = layer.padding
    pad = {2: nn.ConstantPad1d, 4: nn.ConstantPad2d, 6: nn.ConstantPad3d}[len(sides)]
    return [pad(tuple(-side for side in sides), 0.0)]


FLATTENINGS = LayerKind(types=(nn.Flatten,), place="leads", is_silent=True, keeps_range=True, undo=_reshaped)

UNFLATTENINGS = LayerKind(types=(nn.Unflatten,), place="leads", is_silent=True, undo=_reshaped)

PADS = LayerKind(
    types=by_dimension("ConstantPad", "ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"),
    place="leads",
    is_silent=True,
    undo=_cut_off,
)

DROPOUTS = LayerKind(
    types=(nn.modules.dropout._DropoutNd,), place="leads", is_unit_by_unit=True, keeps_range=True
)

POOLS = LayerKind(
    types=by_dimension("MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool"),
    is_silent=True,
    keeps_range=True,
)

# What marks an input belongs to the block that gets it.
INPUT_MARKS = LayerKind(types=(LabelPlaces, LengthNorm), place="leads", is_silent=True)

RESIZINGS = LayerKind(types=(FirstUnits, nn.Upsample), is_silent=True)

SHAPE_LAYERS = [FLATTENINGS, UNFLATTENINGS, PADS, DROPOUTS, POOLS, INPUT_MARKS, RESIZINGS]
