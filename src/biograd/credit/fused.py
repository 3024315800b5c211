"""Running a block by the faster of PyTorch's ways, where rounding does not matter: see `biograd.layers.fused`."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from biograd.credit.chain.blocks import Block, spared
from biograd.layers.fused import fused_linear, fused_tanh


def run_fused(block: Block, x: Tensor) -> Tensor:
    """The output of a block, to rounding that of ``block(x)``, without a graph."""
    x = spared(block, x)
    if block.stretch is not None:
        return block(x)
    for layer, is_before_tanh in _steps(block.layers):
        if type(layer) is nn.Linear and not has_hooks(layer):
            x = fused_linear(x, layer.weight, layer.bias, tanh=is_before_tanh)
        elif type(layer) is nn.Tanh and not has_hooks(layer):
            x = fused_tanh(x)
        else:
            x = layer(x)
    return x


def _steps(layers: tuple[nn.Module, ...]) -> Iterator[tuple[Any, bool]]:
    """Layers in order, a linear one and the tanh right behind it as one."""
    places = iter(range(len(layers)))
    for place in places:
        layer, after = layers[place], layers[place + 1] if place + 1 < len(layers) else None
        joins = (
            type(layer) is nn.Linear and type(after) is nn.Tanh and not (has_hooks(layer) or has_hooks(after))
        )
        if joins:
            next(places)
        yield layer, joins


def has_hooks(layer: nn.Module) -> bool:
    """Whether a layer is more than its forward."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)
