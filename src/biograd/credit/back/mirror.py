"""The decoder that mirrors a block: its layers transposed and in reverse, with weights of its own."""

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from biograd.credit.back.decoders import Site
from biograd.credit.back.mlp import mlp
from biograd.credit.chain.blocks import Block
from biograd.credit.kinds import nearest_kind, nearest_weight
from biograd.errors import UnsupportedNet
from biograd.layers.local.own_filters import layout_of


def mirror(site: Site) -> nn.Sequential:
    r"""The layers of a block, transposed and in reverse: :math:`g(h) = \sigma(V h + c)`.

    Linear becomes linear, a convolution a transposed one and the other way round, a locally connected layer the
    transpose of one; V is Glorot's at the start, c zero. What a block does around its opening layer is undone:
    flattening, padding, and pooling by upsampling to the size before. σ is the nonlinearity that the block *below*
    ends in, and none where that ends in none of PyTorch's. A block at a named cut point whose layers are not known, or
    cannot be mirrored, gets an MLP; see `biograd.credit.back.mlp.mlp`.

    Args:
        site: where.

    Raises:
        UnsupportedNet: a block of a chain that is not made of such layers, such as a residual unit.
    """
    return mirrored(site) if not site.is_named else or_mlp(mirrored, site)


def or_mlp(make: Callable[[Site], nn.Sequential], site: Site) -> nn.Sequential:
    """What ``make`` makes of a site, or an MLP where it refuses."""
    try:
        return make(site)
    except UnsupportedNet:
        return mlp(site)


def mirrored(site: Site) -> nn.Sequential:
    """The layers of a block, transposed and in reverse; see `mirror`.

    Raises:
        UnsupportedNet: a block that is not made of such layers.
    """
    if site.block.stretch is not None:
        raise _unmirrored(site, "its layers are not known")
    index = site.block.layers.index(site.block.opening)
    channels, behind = _undone_behind(site, index)
    opening = _transposed(site, index, channels)
    _initialize(opening[0])
    leading = [layer for before in reversed(range(index)) for layer in _undone_before(site, before)]
    return nn.Sequential(*behind, *opening, *leading, *filter(None, [own_nonlinearity(site.below)]))


def _undone_behind(site: Site, opening: int) -> tuple[int, list[nn.Module]]:
    """Channels, and layers that lead from the block's outputs back to the size right behind its opening layer.

    The opening layer is mirrored without channels that are not passed on (`FirstUnits`).
    """
    channels, layers = site.given[0], []
    for index in reversed(range(opening + 1, len(site.block.layers))):
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


def _transposed(site: Site, index: int, channels: int) -> list[nn.Module]:
    """The opening layer transposed, with weights of its own, and what cuts its output to size."""
    layer = site.block.opening
    weight = nearest_weight(layer)
    if weight is None or weight.mirror is None:
        raise _unmirrored(site, f"it opens with a {type(layer).__name__}")
    return weight.mirror(layer, channels, site.shapes[index], site.shapes[index + 1])


def _undone_before(site: Site, index: int) -> list[nn.Module]:
    """What undoes a layer that leads the block."""
    layer, before, after = site.block.layers[index], site.shapes[index], site.shapes[index + 1]
    if before == after:
        return []
    kind = nearest_kind(layer)
    if kind is None or kind.undo is None:
        raise _unmirrored(site, f"its {type(layer).__name__} makes {tuple(after)} of {tuple(before)}")
    return kind.undo(layer, before, after)


def own_nonlinearity(block: Block) -> nn.Module | None:
    """A copy of the nonlinearity in whose range the block's outputs lie."""
    for layer in reversed(block.following):
        kind = nearest_kind(layer)
        if kind is not None and kind.nonlinearity is not None:
            return kind.nonlinearity(layer)
        if kind is None or not kind.keeps_range:
            return None
    return None


def _initialize(layer: Any) -> None:
    """Glorot's weights, with the fans of one position where it is locally connected; no bias."""
    layout = layout_of(layer)
    if layout.positions:
        bound = math.sqrt(6 / sum(layout.fans(layer.weight)))
        nn.init.uniform_(layer.weight, -bound, bound)
    else:
        nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)


def _unmirrored(site: Site, reason: str) -> UnsupportedNet:
    return UnsupportedNet(
        f"the block {site.block.name!r} cannot be mirrored, {reason}: take decoder='mlp' or one of your own, "
        "decoder='path/to/file.py:Name' (see biograd.credit.back.decoders.Decoder), or use a rule without decoders"
    )
