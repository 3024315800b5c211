"""A device's graph on the CPU: operators that were captured are run again, in the same memory, without the Python."""

import contextlib
from typing import ClassVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from biograd.training.replayed import Graph


class Tape(Graph):
    """Keeps operators with the tensors that they took and gave."""

    made: ClassVar[list["Tape"]] = []

    def __init__(self, device):
        self.calls, self.replays = [], 0
        Tape.made.append(self)

    def beside(self):
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def captured(self, generators):
        """What is captured is not done: memory and generators are as they were before."""
        random = torch.get_rng_state()
        recorder = _Recorder(self.calls)
        with recorder:
            yield
        recorder.undo()
        torch.set_rng_state(random)

    def replay(self):
        self.replays += 1
        with torch.no_grad():
            for func, args, kwargs, given in self.calls:
                _refill(given, tree_leaves(func(*args, **kwargs)))


class _Recorder(TorchDispatchMode):
    def __init__(self, calls):
        super().__init__()
        self._calls, self._before, self._own = calls, {}, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        taken = _tensors((args, kwargs))
        if func._schema.is_mutable or "batch_norm" in str(func):  # which does not say that it is
            for tensor in taken:
                self._remember(tensor)
        result = func(*args, **kwargs)
        self._own |= {_memory(t) for t in _tensors(result)} - {_memory(t) for t in taken}
        # detached, so that no graph is held
        self._calls.append((func, *_held((args, kwargs)), [_held(t) for t in _tensors(result)]))
        return result

    def _remember(self, tensor):
        """What lay in memory from before that a captured operator writes to."""
        where = _memory(tensor)
        if where not in self._own and where not in self._before:
            storage = tensor.untyped_storage()
            self._before[where] = storage, storage.clone()

    def undo(self):
        for storage, before in self._before.values():
            storage.copy_(before)


def _tensors(values):
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def _memory(tensor):
    return tensor.untyped_storage().data_ptr()


def _held(values):
    return tree_map(lambda value: value.detach() if isinstance(value, torch.Tensor) else value, values)


def _refill(places, values):
    """Put what an operator gives where it gave it when it was captured."""
    found = [value for value in values if isinstance(value, torch.Tensor)]
    for place, value in zip(places, found, strict=True):
        if _memory(place) != _memory(value):
            place.copy_(value)
