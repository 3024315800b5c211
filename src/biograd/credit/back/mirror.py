"""The decoder that mirrors a block: its layers transposed and in reverse, with weights of its own."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from biograd.credit.back.decoders import Site
from biograd.credit.chain.blocks import Block
from biograd.credit.fused import FusedLinear, FusedTanh
from biograd.errors import UnsupportedNet
from biograd.layers import LocallyConnected2d, LocallyConnectedTranspose2d

_CONVOLUTIONS: list[tuple[Any, Any, Any]] = [
    (nn.Conv1d, nn.ConvTranspose1d, nn.ConstantPad1d),
    (nn.Conv2d, nn.ConvTranspose2d, nn.ConstantPad2d),
    (nn.Conv3d, nn.ConvTranspose3d, nn.ConstantPad3d),
]
_NO_NONLINEARITY = (nn.MultiheadAttention, nn.GLU)
_KEEPING_THE_RANGE = (
    nn.Identity,
    nn.Flatten,
    nn.modules.dropout._DropoutNd,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
)
"""Layers behind a nonlinearity whose outputs lie where the nonlinearity's do."""


def mirror(site: Site) -> nn.Sequential:
    r"""The layers of a block, transposed and in reverse: :math:`g(h) = \sigma(V h + c)`.

    Linear becomes linear, a convolution a transposed one and the other way round, a locally connected layer the
    transpose of one; V is Glorot's at the start, c zero. What a block does around its opening layer is undone:
    flattening, padding, and pooling by upsampling to the size before. σ is the nonlinearity that the block *below*
    ends in, and none where that ends in none of PyTorch's.

    Args:
        site: where.

    Raises:
        UnsupportedNet: a block that is not made of such layers, such as a residual unit.
    """
    place = site.block.layers.index(site.block.opening)
    channels, behind = _behind(site, place)
    opening = _transposed(site, place, channels)
    _initialize(opening[0])
    leading = [layer for index in reversed(range(place)) for layer in _before(site, index)]
    nonlinearity = own_nonlinearity(site.below)
    if isinstance(opening[0], FusedLinear) and isinstance(nonlinearity, FusedTanh):
        opening[0].tanh, nonlinearity = True, None  # what follows moves units alone
    return nn.Sequential(*behind, *opening, *leading, *filter(None, [nonlinearity]))


def _behind(site: Site, place: int) -> tuple[int, list[nn.Module]]:
    """Channels, and layers that lead from the block's outputs back to the size right behind its opening layer.

    Channels that were not passed on (`FirstUnits`) are not made up: the opening layer is mirrored without them.
    """
    channels, layers = site.given[0], []
    for index in reversed(range(place + 1, len(site.block.layers))):
        before, after = site.shapes[index], site.shapes[index + 1]
        positions = before[1:].numel()
        if before[1:] == after[1:]:
            continue
        if len(before) == len(after) and before[0] == after[0]:
            layers.append(nn.Upsample(size=tuple(before[1:])))
        elif len(after) == 1 and after.numel() == before.numel() and (positions == 1 or not site.auxiliary):
            channels = channels // positions
            layers.append(nn.Unflatten(1, (channels, *before[1:])))
        else:
            layer = type(site.block.layers[index]).__name__
            raise _unmirrored(site, f"its {layer} makes {tuple(after)} of {tuple(before)}")
    return channels, layers


def _transposed(site: Site, place: int, channels: int) -> list[nn.Module]:
    """The opening layer transposed, with weights of its own, and what cuts its output to size."""
    layer, into, out = site.block.opening, site.shapes[place], site.shapes[place + 1]
    if isinstance(layer, nn.Linear):
        return [FusedLinear(channels if len(out) == 1 else layer.out_features, layer.in_features)]
    if isinstance(layer, LocallyConnected2d):
        return [_transposed_local(layer, channels)]
    for plain, transposed, pad in _CONVOLUTIONS:
        if isinstance(layer, plain):
            return _transposed_convolution(transposed, pad, layer, channels, into, out)
        if isinstance(layer, transposed):
            return _plain_convolution(plain, pad, layer, channels, into)
    raise _unmirrored(site, f"it opens with a {type(layer).__name__}")


def _transposed_local(layer: LocallyConnected2d, channels: int) -> nn.Module:
    return LocallyConnectedTranspose2d(
        channels,
        layer.in_channels,
        layer.kernel_size,
        layer.input_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        _groups(layer, channels),
    )


def _transposed_convolution(
    kind: Any, pad: Any, layer: Any, channels: int, into: torch.Size, out: torch.Size
) -> list[nn.Module]:
    """A transposed convolution from the positions of ``out`` to those of ``into``."""
    padding = _padding(layer)
    sizes = [
        (positions - 1) * stride - 2 * zeros + dilation * (kernel - 1) + 1
        for positions, stride, zeros, dilation, kernel in zip(
            out[1:], layer.stride, padding, layer.dilation, layer.kernel_size, strict=True
        )
    ]
    missing = tuple(max(wanted - size, 0) for wanted, size in zip(into[1:], sizes, strict=True))
    made = kind(
        channels,
        layer.in_channels,
        layer.kernel_size,
        stride=layer.stride,
        padding=padding,
        output_padding=missing,
        groups=_groups(layer, channels),
        dilation=layer.dilation,
    )
    return [made, *_crop(pad, sizes, into[1:])]


def _plain_convolution(kind: Any, pad: Any, layer: Any, channels: int, into: torch.Size) -> list[nn.Module]:
    """A convolution that undoes a transposed one, which gets the positions of ``into``."""
    made = kind(
        channels,
        layer.in_channels,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        groups=_groups(layer, channels),
        dilation=layer.dilation,
    )
    extra = zip(layer.output_padding, layer.stride, strict=True)
    sizes = [size + zeros // stride for size, (zeros, stride) in zip(into[1:], extra, strict=True)]
    return [made, *_crop(pad, sizes, into[1:])]


def _crop(pad: Any, sizes: list[int], wanted: torch.Size) -> list[nn.Module]:
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


def _before(site: Site, index: int) -> Iterator[nn.Module]:
    """What undoes a layer that leads the block."""
    layer, before, after = site.block.layers[index], site.shapes[index], site.shapes[index + 1]
    if before == after:
        return
    if isinstance(layer, nn.Flatten | nn.Unflatten):
        if len(after) > 1:
            yield nn.Flatten()
        if len(before) > 1:
            yield nn.Unflatten(1, tuple(before))
        return
    sides: Any = layer.padding
    pad = {2: nn.ConstantPad1d, 4: nn.ConstantPad2d, 6: nn.ConstantPad3d}[len(sides)]
    yield pad(tuple(-side for side in sides), 0.0)


def own_nonlinearity(block: Block) -> nn.Module | None:
    """A copy of the nonlinearity in whose range the block's outputs lie."""
    for layer in reversed(block.following):
        if isinstance(layer, nn.RReLU):  # its slope is random
            return nn.LeakyReLU((layer.lower + layer.upper) / 2)
        if type(layer) is nn.Tanh:
            return FusedTanh()
        if _is_nonlinearity(layer):
            return _apart(layer)
        if not isinstance(layer, _KEEPING_THE_RANGE):
            return None
    return None


def _is_nonlinearity(layer: nn.Module) -> bool:
    ours = any(kind.__module__ == nn.Tanh.__module__ for kind in type(layer).__mro__)
    return ours and not isinstance(layer, _NO_NONLINEARITY)


def _apart(layer: Any) -> nn.Module:
    layer = copy.deepcopy(layer).train()
    if hasattr(layer, "inplace"):
        layer.inplace = False
    for parameter in layer.parameters():
        parameter.grad = None
    return layer


def _initialize(layer: Any) -> None:
    """Glorot's weights, with the fans of one position where it is locally connected; no bias."""
    if isinstance(layer, LocallyConnectedTranspose2d):
        *kernel, into, out = layer.weight.shape[2:]
        bound = math.sqrt(6 / ((into + out) * math.prod(kernel)))
        nn.init.uniform_(layer.weight, -bound, bound)
    else:
        nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]


def _unmirrored(site: Site, reason: str) -> UnsupportedNet:
    return UnsupportedNet(
        f"the block {site.block.name!r} cannot be mirrored, {reason}: give the rule a decoder of your own, "
        "decoder='path/to/file.py:Name' (see biograd.credit.back.decoders.Decoder), or use a rule without: "
        "bp, fa, usf, brsf, frsf, kp, wm, dfa"
    )
