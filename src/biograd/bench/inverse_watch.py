"""Watches the inverses that a rule keeps from step to step: how often they are made anew, and how wrong they get."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit.back.inverses import KeptInverse
from biograd.credit.back.weight_matrices import multiplies_rows, weight_matrices


@dataclass
class Inverses:
    """How kept inverses did.

    Attributes:
        refreshes: how many were made anew.
        residual: the largest residual that a signal had behind its correction, relative to the signal; for other
            layers than linear ones that of the inverse itself, relative to the identity.
    """

    refreshes: int = 0
    residual: float = 0.0


@dataclass
class InverseWatch:
    """Sees each call of a rule's kept inverses; looks at them when told to, which takes time.

    Args:
        rule: any; `kept` is empty where it keeps no inverse.
    """

    rule: nn.Module
    found: Inverses = field(default_factory=Inverses)

    def __post_init__(self) -> None:
        """Begin to watch."""
        self.kept = [module for module in self.rule.modules() if isinstance(module, KeptInverse)]
        self._calls: list[tuple[KeptInverse, int, nn.Module, Tensor, Tensor]] = []
        self._hooks = [inverse.register_forward_hook(self._note) for inverse in self.kept]

    def forget(self) -> None:
        """Leave out the calls since the last look."""
        self._calls.clear()

    def look(self) -> None:
        """Add the calls since the last look to what was found; weights must be as they were then."""
        for inverse, age, layer, delta, e in self._calls:
            self.found.refreshes += int(age == 0)
            self.found.residual = max(self.found.residual, _residual(inverse, layer, delta, e))
        self.forget()

    def end(self) -> None:
        """Stop watching."""
        for hook in self._hooks:
            hook.remove()
        self.forget()

    def _note(self, inverse: Any, given: tuple[Any, ...], e: Tensor) -> None:
        layer, delta, _ = given
        self._calls.append((inverse, int(inverse.age), layer, delta, e))


@torch.no_grad()
def _residual(inverse: KeptInverse, layer: nn.Module, delta: Tensor, e: Tensor) -> float:
    W = weight_matrices(layer)
    if multiplies_rows(layer):
        wanted, missing = delta, delta - e @ W
    else:
        wanted = torch.eye(W.shape[-1], dtype=W.dtype, device=W.device).expand_as(W)
        missing = wanted - W @ inverse.X
    return (missing.norm() / wanted.norm()).item()
