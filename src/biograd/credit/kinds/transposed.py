"""Layers transposed, with weights of their own: what decoders are mirrored with."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from biograd.credit.kinds.layer_kind import Mirror
from biograd.layers import LocallyConnected


def transposed_linear(layer: nn.Linear, channels: int, into: torch.Size, out: torch.Size) -> list[nn.Module]:
    """A linear layer, of all of the layer's units where these are not what ``channels`` counts."""
    del into
    return [nn.Linear(channels if len(out) == 1 else layer.out_features, layer.in_features)]


def transposed_locally_connected(kind: Callable[..., nn.Module]) -> Mirror:
    """The mirror of a locally connected layer.

    Args:
        kind: the transpose of one over as many dimensions.
    """

    def mirror(layer: LocallyConnected, channels: int, into: torch.Size, out: torch.Size) -> list[nn.Module]:
        del into, out
        sizes = (layer.kernel_size, layer.input_size, layer.stride, layer.padding, layer.dilation)
        return [kind(channels, layer.in_channels, *sizes, _groups(layer, channels))]

    return mirror


def transposed_convolution(kind: Callable[..., nn.Module], pad: Callable[..., nn.Module]) -> Mirror:
    """The mirror of a convolution.

    Args:
        kind: the transposed convolution over as many dimensions.
        pad: constant padding over as many dimensions.
    """

    def mirror(layer: Any, channels: int, into: torch.Size, out: torch.Size) -> list[nn.Module]:
        padding = _padding(layer)
        sizes = [
            (positions - 1) * stride - 2 * zeros + dilation * (kernel - 1) + 1
            for positions, stride, zeros, dilation, kernel in zip(
                out[1:], layer.stride, padding, layer.dilation, layer.kernel_size, strict=True
            )
        ]
        missing = tuple(max(wanted - size, 0) for wanted, size in zip(into[1:], sizes, strict=True))
        made = _made(kind, layer, channels, padding=padding, output_padding=missing)
        return [made, *_crop(pad, sizes, into[1:])]

    return mirror


def plain_convolution(kind: Callable[..., nn.Module], pad: Callable[..., nn.Module]) -> Mirror:
    """The mirror of a transposed convolution.

    Args:
        kind: the convolution over as many dimensions.
        pad: constant padding over as many dimensions.
    """

    def mirror(layer: Any, channels: int, into: torch.Size, out: torch.Size) -> list[nn.Module]:
        del out
        made = _made(kind, layer, channels, padding=layer.padding)
        extra = zip(layer.output_padding, layer.stride, strict=True)
        sizes = [size + zeros // stride for size, (zeros, stride) in zip(into[1:], extra, strict=True)]
        return [made, *_crop(pad, sizes, into[1:])]

    return mirror


def _made(kind: Callable[..., nn.Module], layer: Any, channels: int, **padding: Any) -> nn.Module:
    return kind(
        channels,
        layer.in_channels,
        layer.kernel_size,
        stride=layer.stride,
        groups=_groups(layer, channels),
        dilation=layer.dilation,
        **padding,
    )


def _crop(pad: Callable[..., nn.Module], sizes: list[int], wanted: torch.Size) -> list[nn.Module]:
    """A layer that cuts off what is too much at the end of each dimension, if anything is."""
    surplus = [max(size - goal, 0) for size, goal in zip(sizes, wanted, strict=True)]
    sides = [side for extra in reversed(surplus) for side in (0, -extra)]
    return [pad(tuple(sides), 0.0)] if any(surplus) else []


def _padding(layer: Any) -> tuple[int, ...]:
    """Zeros before the first position in each dimension; of ``'same'``, the smaller half."""
    if layer.padding == "valid":
        return (0,) * len(layer.kernel_size)
    if layer.padding == "same":
        pairs = zip(layer.kernel_size, layer.dilation, strict=True)
        return tuple(dilation * (kernel - 1) // 2 for kernel, dilation in pairs)
    return layer.padding


def _groups(layer: Any, channels: int) -> int:
    """Those of the layer, unless its channels were not all passed on."""
    return layer.groups if channels == layer.out_channels else 1
