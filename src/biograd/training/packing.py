"""Nested states (dicts, lists, tuples, scalars, tensors) as JSON beside named tensors, and back."""

import reprlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from biograd.errors import brief
from biograd.records.schema import is_nested_deeper

DEEPEST = 192
"""Levels of JSON in each other; a level of a state takes three."""


def pack(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Part a nested state into what JSON can hold and its tensors, on the CPU.

    Tensors that are the same memory seen in the same way (tied weights) are kept once.

    Raises:
        TypeError: a value that is none of the kinds above.

    Example:
        >>> pack({"step": 1, "betas": (0.9, 0.99), 0: torch.zeros(2)})
        ({'dict': [['step', 1], ['betas', {'tuple': [0.9, 0.99]}], [0, {'tensor': '0'}]]}, {'0': tensor([0., 0.])})
    """
    shelf = _Shelf()
    skeleton = _part(state, shelf)
    if is_nested_deeper(skeleton, DEEPEST):
        raise TypeError(f"a checkpoint cannot hold what is nested more than {DEEPEST // 3} levels deep")
    return skeleton, shelf.tensors


def unpack(skeleton: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `pack` was given; each place of a tensor that was kept once gets the same tensor.

    Raises:
        ValueError: `pack` gave no such skeleton, or not with these tensors.
    """
    if is_nested_deeper(skeleton, DEEPEST):
        raise ValueError(f"its parts lie in each other more than {DEEPEST} levels deep")
    used: set[str] = set()
    state = _whole(skeleton, tensors, used)
    if unused := sorted(set(tensors) - used):
        raise ValueError(f"no part of it has the tensor {reprlib.repr(unused[0])}")
    return state


def _whole(skeleton: Any, tensors: Mapping[str, Tensor], used: set[str]) -> Any:
    match skeleton:
        case list():
            return [_whole(item, tensors, used) for item in skeleton]
        case {"tensor": str(name)} if len(skeleton) == 1 and name in tensors:
            used.add(name)
            return tensors[name]
        case {"tuple": list(items)} if len(skeleton) == 1:
            return tuple(_whole(item, tensors, used) for item in items)
        case {"dict": list(items)} if len(skeleton) == 1 and all(map(_is_entry, items)):
            entries = {key: _whole(item, tensors, used) for key, item in items}
            if len(entries) == len(items):
                return entries
    if isinstance(skeleton, dict):
        raise ValueError(f"it has a part that is none, {reprlib.repr(skeleton)}")
    return skeleton


def _is_entry(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and _is_key(item[0])


def _is_key(key: Any) -> bool:
    return isinstance(key, str | int) and not isinstance(key, bool)


def _part(value: Any, shelf: "_Shelf") -> Any:
    if isinstance(value, Tensor):
        return {"tensor": shelf.name(value)}
    if isinstance(value, Mapping):
        return {"dict": [[_key(key), _part(item, shelf)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_part(item, shelf) for item in value]}
    if isinstance(value, list):
        return [_part(item, shelf) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}: {brief(value)}")


def _key(key: Any) -> str | int:
    if _is_key(key):
        return key
    raise TypeError(f"a checkpoint cannot hold a key of type {type(key).__name__}: {brief(key)}")


class _Shelf:
    """Tensors by name, none of which shares memory with another."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._storages: set[int] = set()

    def name(self, tensor: Tensor) -> str:
        """The name under which a tensor is kept."""
        view = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and view in self._names:
            return self._names[view]
        self._names[view] = name = str(len(self.tensors))
        self.tensors[name] = self._apart(tensor.detach())
        return name

    def _apart(self, tensor: Tensor) -> Tensor:
        """The tensor on the CPU; a copy where it is a part of something larger, or shares its memory."""
        storage = tensor.untyped_storage()
        shared = storage.data_ptr() in self._storages or storage.nbytes() != tensor.nbytes
        self._storages.add(storage.data_ptr())
        if shared or not tensor.is_contiguous():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        return tensor.cpu()
