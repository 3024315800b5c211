"""How large the activity of each block is: it may grow without bound where no block sees another's errors."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from biograd.credit import unwrap
from biograd.credit.chain.blocks import blocks
from biograd.credit.chain.cut_watch import has_weights
from biograd.credit.isolation import isolated
from biograd.credit.structures import called, copied, tensors_in
from biograd.diagnostics.angle import norm
from biograd.errors import UnsupportedNet


def activities(net: nn.Module, x: Any) -> dict[str, float]:
    r"""Root mean square of what each block gives on a batch, over examples and units, in float64.

    .. math:: \Bigl(\frac1n \sum_i h_i^2\Bigr)^{1/2}

    Its *growth* is the ratio of two such numbers, of a block now and before training. Behind a normalisation no later
    block sees it, and the loss does not either, so that it can grow for as long as training lasts, as a residual stream
    does under direct feedback while each block goes on adding in the direction that it was told.

    Args:
        net: any module, run once and left as it was.
        x: a batch of inputs.

    Returns:
        Name of the block to number, in order: those of a chain (`biograd.credit.chain.blocks`), or the layers with
        weights of any other net, recurrent ones too, each at its last use; PyTorch's attention, whose projections are
        no layers that run, is left out. Not finite where activity is not.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU())
        >>> _ = nn.init.eye_(net[1].weight)
        >>> activities(net, torch.tensor([[4.0, -4.0], [-1.0, 0.0]]))["1"]
        2.0
    """
    net = unwrap(net)
    with isolated(net, devices_of=x), torch.no_grad(), _listening(ends_of_blocks(net)) as heard:
        called(net, copied(x))
    return heard


def ends_of_blocks(net: nn.Module) -> dict[str, nn.Module]:
    """The module behind which each block ends, by the block's name."""
    try:
        return {block.name: block.layers[-1] for block in blocks(net)}
    except UnsupportedNet:  # no chain
        return {name: module for name, module in net.named_modules() if has_weights(module)}


@contextmanager
def _listening(ends: dict[str, nn.Module]) -> Iterator[dict[str, float]]:
    """Fills in a number a block."""
    heard: dict[str, float] = {}
    handles = [module.register_forward_hook(_ear(name, heard)) for name, module in ends.items()]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _ear(name: str, heard: dict[str, float]) -> Callable[[nn.Module, Any, Any], None]:
    def listen(_: nn.Module, __: Any, output: Any) -> None:
        first = next(tensors_in(output), None)  # a recurrent layer gives its states behind it
        if first is not None and first.is_floating_point() and first.numel():
            heard[name] = norm(first) / math.sqrt(first.numel())

    return listen
