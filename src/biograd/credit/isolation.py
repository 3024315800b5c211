"""Running a net as if it were a copy of itself, without copying its weights."""

import functools
import inspect
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit.structures import tensors_in


@contextmanager
def isolated(*modules: Any, devices_of: Any = None) -> Iterator[None]:
    """Let modules run and be taught inside the context; afterwards they are as they were.

    Inside, every parameter is a stand-in that shares the memory of the real one and has no ``.grad`` and
    no hooks (so that nothing is averaged across processes), and every buffer is a copy. Afterwards the
    real ones are back in their places, with the attributes of each module (``training`` among them) and
    the states of the global random number generators, of the CPU and of the CUDA devices in use. It
    holds after an exception too. Weights must not be written to in place: a rule fills ``.grad`` only.

    Args:
        modules: modules to protect; of a function, those that it is a method of, was given, or reads by name.
        devices_of: tensors whose devices count as in use too, in any structure.
    """
    owners = list(dict.fromkeys(m for module in _reached(modules, set()) for m in module.modules()))
    kept = [(m, dict(m.__dict__), dict(m._parameters), dict(m._buffers)) for m in owners]
    with torch.random.fork_rng(_cuda_devices(owners, devices_of)):
        try:
            _put_stand_ins(owners)
            yield
        finally:
            for module, attributes, parameters, buffers in kept:
                _refill(module.__dict__, attributes)
                _refill(module._parameters, parameters)
                _refill(module._buffers, buffers)


def _reached(things: Iterable[Any], seen: set[int]) -> Iterator[nn.Module]:
    """Modules among these and within functions among them, and within others of the same files that those call."""
    for thing in things:
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            yield thing
        elif isinstance(thing, functools.partial):
            yield from _reached((thing.func, *thing.args, *thing.keywords.values()), seen)
        elif inspect.ismethod(thing):
            yield from _reached((thing.__self__, thing.__func__), seen)
        elif inspect.isfunction(thing):
            yield from _reached(_read_by(thing), seen)


def _read_by(function: Any) -> list[Any]:
    """What a function reads by name, but for functions of other files."""
    try:
        read = inspect.getclosurevars(function)
    except ValueError:  # a name of the function around it that stands for nothing yet
        return []
    own = function.__globals__
    near = [value for value in read.globals.values() if getattr(value, "__globals__", own) is own]
    return [*read.nonlocals.values(), *near]


def _put_stand_ins(owners: list[nn.Module]) -> None:
    """Replace each tensor in its slot; one that fills several slots (a shared weight) by one stand-in."""
    stand_ins: dict[Tensor, Tensor] = {}
    for module in owners:
        if isinstance(module, nn.parallel.DistributedDataParallel):
            module.require_backward_grad_sync = False  # other processes need not be here
        for name, parameter in module._parameters.items():
            if parameter is not None:
                stand_in = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
                module._parameters[name] = stand_ins.setdefault(parameter, stand_in)  # pyright: ignore[reportArgumentType]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = stand_ins.setdefault(buffer, buffer.detach().clone())


def _refill(mapping: MutableMapping[str, Any], content: dict[str, Any]) -> None:
    if isinstance(mapping, dict):  # that of a scripted module takes values, no new names
        mapping.clear()
    for name, value in content.items():
        mapping[name] = value


def _cuda_devices(owners: list[nn.Module], beside: Any) -> list[int]:
    tensors = [t for module in owners for t in (*module._parameters.values(), *module._buffers.values())]
    found = (*tensors, *tensors_in(beside))
    return sorted({t.device.index for t in found if t is not None and t.device.type == "cuda"})
