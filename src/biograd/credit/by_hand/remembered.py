"""The blocks of the net that a rule saw last, for as long as nothing about them changes."""

import operator
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks_of_all

from biograd.credit.by_hand.unit import Unit, is_watched
from biograd.credit.chain.blocks import Block, is_chain


class Remembered:
    """Gives a chain's blocks again without looking at the whole net, where nothing about it changed.

    What is compared at every call, of every layer and chain within: which children, parameters and hooks it has, and
    each parameter's shape, type, device and whether it learns. A chain with layers that have parts of their own is not
    remembered. It holds nothing of a net; copies of it, and what is saved of it, remember nothing.
    """

    def __init__(self) -> None:
        self._seen: weakref.ref[_Seen] | None = None

    def of(self, net: nn.Module, x: Tensor | None) -> list[Block] | None:
        """The blocks as they were kept, those of the batch ``x`` by hand where they can be; None where they changed.

        None too where a compiler looks on: it would bind what it makes to all nets that are remembered.
        """
        if torch.compiler.is_compiling():
            return None
        seen = _SEEN.get(net)
        if seen is None or self._seen is None or self._seen() is not seen or not seen.holds(net):
            return None
        return seen.chain_for(x)

    def keep(self, net: nn.Module, chain: list[Block]) -> None:
        """Remember the blocks of a net that was just looked at."""
        if torch.compiler.is_compiling():
            return
        seen = _SEEN.get(net)
        if seen is None or not seen.holds(net):
            if not _Seen.is_for(net, chain):
                self._seen = None
                return
            _SEEN[net] = seen = _Seen(net, chain)
        self._seen = weakref.ref(seen)

    def __reduce__(self) -> tuple[Callable[[], "Remembered"], tuple[()]]:
        return Remembered, ()


class _Seen:
    """What a chain was like.

    Args:
        net: the chain, of layers without parts of their own; of it itself nothing is held.
        chain: its blocks.
    """

    def __init__(self, net: nn.Module, chain: list[Block]) -> None:
        layers = [layer for block in chain for layer in block.layers]
        self._chain = chain
        self._children = _children(net)
        self._nests = [
            (nest, _children(nest)) for nest in net.modules() if nest is not net and is_chain(nest)
        ]
        self._layers = [(layer, type(layer), is_watched(layer)) for layer in layers]
        held = [layer._parameters for layer in layers]
        self._held = [(parameters, [*parameters], [*parameters.values()]) for parameters in held]
        self._parameters = [
            (p, p.shape, p.dtype, p.device, p.requires_grad)
            for parameters in held
            for p in parameters.values()
            if p is not None
        ]
        _, _, self._dtype, self._device, _ = self._parameters[0]
        self._by_hand = chain
        if all(one[2:4] == (self._dtype, self._device) for one in self._parameters):
            self._by_hand = [
                replace(block, unit=Unit.of(block.leading, block.opening, block.following)) for block in chain
            ]

    @staticmethod
    def is_for(net: nn.Module, chain: list[Block]) -> bool:
        """Whether a chain can be remembered."""
        if not is_chain(net) or any(layer._modules for block in chain for layer in block.layers):
            return False
        parameters = [parameter for block in chain for parameter in block.parameters()]
        return bool(parameters) and all(
            type(p) is nn.Parameter and p.is_floating_point() and p.layout is torch.strided
            for p in parameters
        )

    def holds(self, net: nn.Module) -> bool:
        """Whether nothing changed."""
        if is_watched(net) or _children(net) != self._children:
            return False
        for nest, children in self._nests:
            if is_watched(nest) or _children(nest) != children:
                return False
        for layer, kind, watched in self._layers:
            if type(layer) is not kind or is_watched(layer) is not watched:
                return False
        for held, names, parameters in self._held:
            if [*held] != names or any(map(operator.is_not, held.values(), parameters)):
                return False
        for p, shape, dtype, device, learns in self._parameters:
            if (
                p.requires_grad is not learns
                or p.dtype is not dtype
                or p.shape != shape
                or p.device != device
            ):
                return False
        return True

    def chain_for(self, x: Tensor | None) -> list[Block]:
        """The blocks, those that can be taught by hand with their units where the batch and what is in force suit."""
        if x is None or type(x) is not Tensor or x.dtype != self._dtype or x.device != self._device:
            return self._chain
        if torch.is_autocast_enabled(x.device.type):
            return self._chain
        if torch._C._are_functorch_transforms_active() or hooks_of_all._has_any_global_hook():
            return self._chain
        return self._by_hand


def _children(chain: nn.Module) -> list[Any]:
    """Names of a chain's parts, and which they are."""
    return [*chain._modules, *map(id, chain._modules.values())]


_SEEN: weakref.WeakKeyDictionary[nn.Module, _Seen] = weakref.WeakKeyDictionary()
"""What chains were like when a rule looked at them last; of each for as long as it lives."""
