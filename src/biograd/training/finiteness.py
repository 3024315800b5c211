"""Whether all numbers of a run are finite, which a finite loss does not say: a saturated unit hides what feeds it."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from biograd.training.distributed import Ranks
from biograd.training.run_setup import RunSetup


class Finiteness:
    """Looks at weights, statistics, and what the rule, the penalty and the optimisers keep.

    Buffers that are not finite from the start (a mask of −∞) are meant so, and passed over.

    Args:
        setup: of the run, before it begins.
        ranks: the processes that train together, which all look at once and see the same.
    """

    def __init__(self, setup: RunSetup, ranks: Ranks) -> None:
        self._setup, self._ranks = setup, ranks
        self._meant = frozenset(self._not_finite())

    def first_lost(self) -> str | None:
        """What is not finite any more, the first in the order of the net, or None. Waits for the device."""
        return next((name for name in self._not_finite() if name not in self._meant), None)

    def _not_finite(self) -> list[str]:
        named = list(self._numbers())
        lost = [tensor.isfinite().all().logical_not().to(self._setup.device) for _, tensor in named]
        if not lost:
            return []
        anywhere = self._ranks.sum(torch.stack(lost).int()).tolist()
        return [name for (name, _), count in zip(named, anywhere, strict=True) if count]

    def _numbers(self) -> Iterator[tuple[str, Tensor]]:
        setup = self._setup
        for owner, module in (("net", setup.net), ("rule", setup.rule), ("penalty", setup.penalty)):
            for name, tensor in _tensors(module):
                yield f"{name!r} of the {owner}", tensor
        names: dict[Tensor, str] = {
            p: name for module in (setup.rule, setup.net) for name, p in module.named_parameters()
        }
        for optimizer in setup.optimizers:
            for parameter, state in optimizer.state.items():
                for key, tensor in state.items():
                    if _is_tensor_of(parameter, tensor):
                        yield f"the optimiser's {key} of {names[parameter]!r}", tensor


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point() or tensor.is_complex():
            yield name, tensor.detach()


def _is_tensor_of(parameter: Tensor, value: object) -> bool:
    """Whether a value of an optimiser's state goes with the numbers of a parameter, and is no count or best loss."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    return value.dim() > 0 or value.shape == parameter.shape
