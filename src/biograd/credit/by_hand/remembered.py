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
from biograd.credit.chain.blocks import Block, is_chain, is_plain_sequential, layers_of
from biograd.credit.kinds import forward_of


class Remembered:
    """Gives a chain's blocks again without looking at the whole net, where nothing about it changed.

    What is compared at every call, of every chain and layer: which parts, parameters and hooks it has, its class and
    what runs there, and each parameter's shape, type, device and whether it learns; of some layers a setting, see
    `Unit.is_known`. A chain with layers that have parts of their own is not remembered. It holds nothing of a net: what
    was seen lies beside the net, for as long as both live. Copies of it, and what is saved of it, remember nothing.
    """

    def __init__(self) -> None:
        self._last: weakref.ref[nn.Module] | None = None

    def of(self, net: nn.Module, x: Tensor | None) -> list[Block] | None:
        """The blocks as they were kept, those of the batch ``x`` by hand where they can be; None where they changed.

        None too where a compiler looks on: it would bind what it makes to the net that is remembered.
        """
        if torch.compiler.is_compiling():
            return None
        seen = _SEEN.get(net, {}).get(self)
        return None if seen is None or not seen.holds(net) else seen.chain_for(x)

    def keep(self, net: nn.Module, chain: list[Block]) -> None:
        """Remember the blocks of a net that was just looked at, and of no other."""
        if torch.compiler.is_compiling():
            return
        last = None if self._last is None else self._last()
        if last is not None:
            _SEEN[last].pop(self, None)
        self._last = None
        if _Seen.is_for(net, chain):
            _SEEN.setdefault(net, weakref.WeakKeyDictionary())[self] = _Seen(net, chain)
            self._last = weakref.ref(net)

    def __reduce__(self) -> tuple[Callable[[], "Remembered"], tuple[()]]:
        return Remembered, ()


class _Seen:
    """What a chain was like.

    Args:
        net: the chain, of layers without parts of their own; of it itself nothing is held.
        chain: its blocks.
    """

    def __init__(self, net: nn.Module, chain: list[Block]) -> None:
        layers, nests = layers_of(chain), _nests(net)
        self._chain = chain
        self._children = _children(net)
        self._nests = [(nest, _children(nest)) for nest in nests]
        self._layers = [
            (layer, type(layer), is_watched(layer), [*layer._parameters], [*layer._parameters.values()])
            for layer in layers
        ]
        classes = {type(module) for module in (net, *nests, *layers)}
        self._classes = [(module, forward_of(module), module.__call__) for module in classes]
        parameters = _parameters(chain)
        self._parameters = [(p, p.shape, p.dtype, p.device, p.requires_grad) for p in parameters]
        self._dtype, self._device = parameters[0].dtype, parameters[0].device
        self._by_hand = chain
        if all((p.dtype, p.device) == (self._dtype, self._device) for p in parameters):
            self._by_hand = [
                replace(block, unit=Unit.of(block.leading, block.opening, block.following)) for block in chain
            ]
        self._units = [block.unit for block in self._by_hand if block.unit is not None]

    @staticmethod
    def is_for(net: nn.Module, chain: list[Block]) -> bool:
        """Whether a chain can be remembered."""
        if not is_chain(net) or any(layer._modules for layer in layers_of(chain)):
            return False
        if any(_is_more(nest) or None in nest._modules.values() for nest in (net, *_nests(net))):
            return False
        parameters = _parameters(chain)
        return bool(parameters) and all(
            type(p) is nn.Parameter and p.is_floating_point() and p.layout is torch.strided
            for p in parameters
        )

    def holds(self, net: nn.Module) -> bool:
        """Whether nothing changed."""
        for module, forward, call in self._classes:
            if forward_of(module) is not forward or module.__call__ is not call:
                return False
        return self._has_its_layers(net) and self._has_its_parameters()

    def _has_its_layers(self, net: nn.Module) -> bool:
        if _is_more(net) or _children(net) != self._children:
            return False
        for nest, children in self._nests:
            if _is_more(nest) or _children(nest) != children:
                return False
        for layer, kind, watched, _, _ in self._layers:
            if type(layer) is not kind or is_watched(layer) is not watched or layer._modules:
                return False
        return all(unit.is_known for unit in self._units)

    def _has_its_parameters(self) -> bool:
        for layer, _, _, names, parameters in self._layers:
            held = layer._parameters
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


def _nests(net: nn.Module) -> list[nn.Module]:
    """The chains within a chain."""
    return [nest for nest in net.modules() if nest is not net and is_plain_sequential(nest)]


def _is_more(nest: nn.Module) -> bool:
    """Whether a chain is more than its layers."""
    return is_watched(nest) or not is_plain_sequential(nest) or bool(nest._parameters)


def _children(nest: nn.Module) -> list[Any]:
    """Names of a chain's parts, and which they are."""
    return [*nest._modules, *map(id, nest._modules.values())]


def _parameters(chain: list[Block]) -> list[nn.Parameter]:
    return [parameter for block in chain for parameter in block.parameters()]


_SEEN: weakref.WeakKeyDictionary[nn.Module, weakref.WeakKeyDictionary[Remembered, _Seen]] = (
    weakref.WeakKeyDictionary()
)
"""What each that remembers saw of a net."""
