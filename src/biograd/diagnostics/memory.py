"""How much memory a step needs: what it keeps while it teaches, and its peak."""

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from biograd.credit import unwrap
from biograd.credit.isolation import isolated
from biograd.credit.structures import copied
from biograd.rules.base import Loss, Rule


class Memory(NamedTuple):
    """Bytes of tensors that a step allocated, without what existed before it: weights, inputs, rule state.

    Whoever holds them, autograd or Python. The gradients that the step leaves do not count.

    Attributes:
        kept: the most that is alive when one of those gradients is made: activations that wait, and what is under way.
        peak: the most that is alive at any time.
    """

    kept: int
    peak: int


def memory_of(step: Callable[[], object], gradients: Callable[[], Iterable[Tensor | None]]) -> Memory:
    """Run a step once and follow every tensor it allocates.

    Args:
        step: what to run.
        gradients: gives the gradients that the step has left, to be called after it.
    """
    with _Watch() as watch:
        step()
    left = {_key(gradient) for gradient in gradients() if gradient is not None}
    return watch.memory(left)


def step_memory(net: nn.Module, rule: Rule, x: Any, y: Any, loss_fn: Loss) -> Memory:
    """What a step of the rule needs on this batch; net, rule and random numbers are left as they were.

    What a rule makes in its first step and keeps for all that follow, such as buffers, is older than the step that is
    watched.

    Cost: two steps of the rule, of which one is watched, a copy of its state and two of the batch.
    """
    rule, net = copy.deepcopy(rule), unwrap(net)
    (x, y), again = copied((x, y)), copied((x, y))
    with isolated(net, loss_fn, devices_of=x), torch.enable_grad():
        parameters = [*net.parameters(), *rule.parameters()]
        rule.assign_credit(net, x, y, loss_fn)
        for parameter in parameters:
            parameter.grad = None
        return memory_of(
            lambda: rule.assign_credit(net, again[0], again[1], loss_fn),
            lambda: [parameter.grad for parameter in parameters],
        )


class _Watch(TorchDispatchMode):
    """Sees each operation, forward and backward, and notes when storages appear and disappear."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[int, StorageWeakRef] = {}  # kept for good, so that no address is used twice
        self._alive: dict[int, int] = {}  # bytes of those that the step allocated
        self._history: list[tuple[int, int]] = []  # (storage, bytes gained or lost)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _tensors((args, kwargs)):
            self._is_new(tensor)  # what an operation is given without having been made is older than the step
        result = func(*args, **(kwargs or {}))
        self._forget_dead()
        for tensor in _tensors(result):
            if self._is_new(tensor):
                self._alive[_key(tensor)] = tensor.untyped_storage().nbytes()
                self._history.append((_key(tensor), tensor.untyped_storage().nbytes()))
        return result

    def memory(self, left: set[int]) -> Memory:
        """What was alive; ``left`` are the storages of the gradients."""
        alive = kept = peak = 0
        for key, gained in self._history:
            if key in left:
                kept = max(kept, alive)
            else:
                alive += gained
                peak = max(peak, alive)
        return Memory(kept, peak)

    def _is_new(self, tensor: Tensor) -> bool:
        """Whether its storage is seen for the first time."""
        key = _key(tensor)
        is_new = key not in self._seen
        if is_new:
            self._seen[key] = StorageWeakRef(tensor.untyped_storage())
        return is_new

    def _forget_dead(self) -> None:
        for key in [key for key in self._alive if self._seen[key].expired()]:
            self._history.append((key, -self._alive.pop(key)))


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
