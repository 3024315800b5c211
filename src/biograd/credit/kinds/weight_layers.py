"""Layers with a weight matrix, or several."""

from typing import Any

import torch.nn.functional as F
from torch import nn

from biograd import layers
from biograd.credit.calls import (
    parse_convolution,
    parse_linear,
    parse_locally_connected,
    parse_locally_connected_transpose,
    parse_transposed_convolution,
)
from biograd.credit.kinds.layer_kind import (
    LayerKind,
    Matrices,
    Neurons,
    Opaque,
    Weight,
    by_dimension,
)
from biograd.credit.kinds.transposed import (
    plain_convolution,
    transposed_convolution,
    transposed_linear,
    transposed_locally_connected,
)
from biograd.layers.weight_layout import OUTPUTS_FIRST, by_position


def _channels(layer: Any) -> int:
    return layer.out_channels


def _geometry(layer: Any) -> tuple[Any, ...]:
    return layer.stride, layer.padding, layer.dilation, layer.groups


def _pads_otherwise(layer: Any) -> str | None:
    """Nothing can be sent back through any padding but symmetric zeros."""
    is_uneven = layer.padding == "same" and any(size % 2 == 0 for size in layer.kernel_size)
    if layer.padding_mode == "zeros" and not is_uneven:
        return None
    return (
        f"pads with {layer.padding_mode!r} and {layer.padding!r}: nothing can be sent back through it but "
        "symmetric zero padding; use padding_mode='zeros' and an odd kernel"
    )


def _has_groups(layer: Any) -> str | None:
    return f"is locally connected in {layer.groups} groups: use groups=1" if layer.groups > 1 else None


LINEAR = LayerKind(
    types=(nn.Linear,),
    place="opens",
    is_silent=True,
    weight=Weight(
        function=F.linear,
        parse=parse_linear,
        neurons=Neurons(axis=-1, count=lambda layer: layer.out_features),
        matrices=Matrices(layout=OUTPUTS_FIRST, multiplies_rows=True),
        mirror=transposed_linear,
        input_shape=lambda layer: (layer.in_features,),
    ),
)

_PLAIN, _TRANSPOSED = by_dimension("Conv"), by_dimension("ConvTranspose")
_PADS = by_dimension("ConstantPad")
_LOCAL = (layers.LocallyConnected1d, layers.LocallyConnected2d, layers.LocallyConnected3d)
_LOCAL_TRANSPOSED = (
    layers.LocallyConnectedTranspose1d,
    layers.LocallyConnectedTranspose2d,
    layers.LocallyConnectedTranspose3d,
)

CONVOLUTIONS = [
    LayerKind(
        types=(plain,),
        place="opens",
        is_silent=True,
        weight=Weight(
            function=getattr(F, f"conv{n}d"),
            parse=parse_convolution(n),
            neurons=Neurons(axis=1, count=_channels),
            matrices=Matrices(layout=OUTPUTS_FIRST, arguments=_geometry, why_not=_pads_otherwise),
            mirror=transposed_convolution(transposed, pad),
        ),
    )
    for n, (plain, transposed, pad) in enumerate(zip(_PLAIN, _TRANSPOSED, _PADS, strict=True), start=1)
]

TRANSPOSED_CONVOLUTIONS = [
    LayerKind(
        types=(transposed,),
        place="opens",
        is_silent=True,
        weight=Weight(
            function=getattr(F, f"conv_transpose{n}d"),
            parse=parse_transposed_convolution(n),
            neurons=Neurons(axis=1, count=_channels),
            mirror=plain_convolution(plain, pad),
        ),
    )
    for n, (plain, transposed, pad) in enumerate(zip(_PLAIN, _TRANSPOSED, _PADS, strict=True), start=1)
]

LOCALLY_CONNECTED = [
    LayerKind(
        types=(local,),
        place="opens",
        is_silent=True,
        weight=Weight(
            function=getattr(layers, f"locally_connected{n}d"),
            parse=parse_locally_connected(n),
            neurons=Neurons(axis=1, count=_channels, share_weights=False),
            matrices=Matrices(
                layout=by_position(n),
                arguments=_geometry,
                why_not=lambda layer: _pads_otherwise(layer) or _has_groups(layer),
            ),
            mirror=transposed_locally_connected(transposed),
        ),
    )
    for n, (local, transposed) in enumerate(zip(_LOCAL, _LOCAL_TRANSPOSED, strict=True), start=1)
]

# Their filters belong to places of the input, so that no neuron has one of its own.
LOCALLY_CONNECTED_TRANSPOSES = [
    LayerKind(
        types=(transposed,),
        place="opens",
        is_silent=True,
        weight=Weight(
            function=getattr(layers, f"locally_connected_transpose{n}d"),
            parse=parse_locally_connected_transpose(n),
            axis=1,
        ),
    )
    for n, transposed in enumerate(_LOCAL_TRANSPOSED, start=1)
]

BILINEAR = LayerKind(
    types=(nn.Bilinear,),
    place="opens",
    is_silent=True,
    feedback=Opaque("a bilinear layer has no single feedback weight"),
)

WEIGHT_LAYERS = [
    LINEAR,
    *CONVOLUTIONS,
    *TRANSPOSED_CONVOLUTIONS,
    *LOCALLY_CONNECTED,
    *LOCALLY_CONNECTED_TRANSPOSES,
    BILINEAR,
]
