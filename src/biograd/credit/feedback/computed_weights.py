"""Weights that a net computes from its parameters: parametrisations, pruning, the older norms that are hooks.

Errors travel back through a feedback weight in place of the weight that was computed; the parameters that it was
computed of get their exact derivative of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from biograd.credit.side_effects import without_side_effects

_PARTS_OF_HOOKS = ("orig", "g", "v")


class ComputedWeight(NamedTuple):
    """A weight that is no parameter.

    Attributes:
        module: that has it.
        attribute: its name there.
        parts: the parameters that it is computed of, by their names in the net.
    """

    module: nn.Module
    attribute: str
    parts: dict[str, nn.Parameter]

    def now(self) -> Tensor:
        """What the module would multiply by at this moment, detached; buffers and random numbers stay as they are."""
        device = next(iter(self.parts.values())).device
        within = self._parametrisation if self._is_parametrised else self.module
        with torch.no_grad(), without_side_effects([within], device):
            # not through the module, which may keep what a parametrisation gave
            return (within() if self._is_parametrised else self._by_hooks()).detach()

    def _by_hooks(self) -> Tensor:
        before = getattr(self.module, self.attribute)
        try:
            for hook in _computing_hooks(self.module, self.attribute).values():
                hook(self.module, ())
            return getattr(self.module, self.attribute)
        finally:
            setattr(self.module, self.attribute, before)

    @property
    def _is_parametrised(self) -> bool:
        return parametrize.is_parametrized(self.module, self.attribute)

    @property
    def _parametrisation(self) -> nn.Module:
        return self.module.get_submodule(f"parametrizations.{self.attribute}")

    def places(self) -> set[tuple[nn.Module, str]]:
        """The modules that hold a part, each with the part's name there, for nothing but this weight."""
        if self._is_parametrised:
            return {(m, name) for m in self._parametrisation.modules() for name in m._parameters}
        return {(self.module, name.rpartition(".")[2]) for name in self.parts}

    @contextmanager
    def telling(self, begins: Callable[[], None], ends: Callable[[Tensor], None]) -> Iterator[None]:
        """Tell, within the context, that it is going to be computed, and then what came out."""
        if self._is_parametrised:
            handles = [
                self._parametrisation.register_forward_pre_hook(lambda *_: begins()),
                self._parametrisation.register_forward_hook(lambda *args: ends(args[-1])),
            ]
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()
            return
        hooks = _computing_hooks(self.module, self.attribute)
        self.module._forward_pre_hooks.update(
            {key: self._told(hook, begins, ends) for key, hook in hooks.items()}
        )
        try:
            yield
        finally:
            self.module._forward_pre_hooks.update(hooks)

    def _told(
        self, hook: Callable[..., None], begins: Callable[[], None], ends: Callable[[Tensor], None]
    ) -> Callable[..., None]:
        def run(module: nn.Module, inputs: Any) -> None:
            begins()
            hook(module, inputs)
            ends(getattr(module, self.attribute))

        return run


def computed_weights(net: nn.Module) -> dict[str, ComputedWeight]:
    """What the modules of a net compute from parameters, by the name that it would have as a parameter."""
    return {
        f"{name}.{attribute}".lstrip("."): ComputedWeight(module, attribute, parts)
        for name, module in net.named_modules()
        if "parametrizations" in module._modules or module._forward_pre_hooks
        for attribute, parts in _computed_in(name, module)
    }


def _computed_in(name: str, module: nn.Module) -> Iterator[tuple[str, dict[str, nn.Parameter]]]:
    """Each computed attribute of a module itself, with the parameters that it is computed of."""
    prefix = f"{name}." if name else ""
    if parametrize.is_parametrized(module):
        for attribute, steps in module.get_submodule("parametrizations").named_children():
            within = f"{prefix}parametrizations.{attribute}"
            yield attribute, dict(steps.named_parameters(within))
    for attribute in dict.fromkeys(map(_attribute_of, module._forward_pre_hooks.values())):
        if attribute is not None:
            names = [f"{attribute}_{part}" for part in _PARTS_OF_HOOKS]
            parts = {n: p for n, p in module._parameters.items() if n in names and p is not None}
            yield attribute, {f"{prefix}{n}": p for n, p in parts.items()}


def _attribute_of(hook: Any) -> str | None:
    """What a hook before the forward computes; None where it is no such hook."""
    if isinstance(hook, WeightNorm | SpectralNorm):
        return hook.name
    return hook._tensor_name if isinstance(hook, BasePruningMethod) else None


def _computing_hooks(module: nn.Module, attribute: str) -> dict[int, Any]:
    return {k: hook for k, hook in module._forward_pre_hooks.items() if _attribute_of(hook) == attribute}
