"""What an object of a program is known by: a digest of all that it holds and is made of, the same in every process.

Numbers, texts, containers and tensors are known by their values; classes and functions of the user's own by their
source, and by what they use, in turn; objects by their class and their attributes. What is installed is known by its
name.
"""

import dataclasses
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from biograd.user_files import is_installed

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
LENGTH = 12
"""Hexadecimal digits of a digest."""

Pieces = Iterator[bytes]
Seen = dict[int, tuple[int, Any]]
"""By identity: how many were seen before, and the value, which is kept so that no other takes its place."""


def digest(value: Any) -> str:
    """What is known of a value, in a few letters.

    Example:
        >>> digest([1, "a"]) == digest([1, "a"]), digest(1) == digest(1.0)
        (True, False)
    """
    found = hashlib.sha256()
    for piece in _pieces(value, {}):
        found.update(piece)
    return found.hexdigest()[:LENGTH]


def _pieces(value: Any, seen: Seen) -> Pieces:
    """The bytes that a value is known by; what was seen before is known by when."""
    if isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}".encode(errors="backslashreplace")
        return
    if id(value) in seen:
        yield f"seen {seen[id(value)][0]}".encode()
        return
    seen[id(value)] = len(seen), value
    yield type(value).__qualname__.encode()
    for kind, known in _KINDS:
        if isinstance(value, kind):
            yield from known(value, seen)
            return
    yield from _of_object(value, seen)


def _each(values: Iterable[Any], seen: Seen) -> Pieces:
    for value in values:
        yield from _pieces(value, seen)
    yield b"end"


def _of_mapping(value: Mapping[Any, Any], seen: Seen) -> Pieces:
    return _each((part for item in value.items() for part in item), seen)


def _of_set(value: Set[Any], seen: Seen) -> Pieces:
    return _each(sorted(digest(item) for item in value), seen)


def _of_class(value: type, seen: Seen) -> Pieces:
    yield value.__qualname__.encode()
    if not _is_own(value):
        yield value.__module__.encode()
        return
    yield _source(value)
    yield from _each(value.__bases__, seen)
    yield from _each((part for part in vars(value).values() if isinstance(part, FunctionType)), seen)


def _of_function(value: FunctionType, seen: Seen) -> Pieces:
    yield value.__qualname__.encode()
    if not _is_own(value):
        yield value.__module__.encode()
        return
    yield _source(value)
    yield from _each((value.__defaults__, value.__kwdefaults__), seen)
    try:
        used = inspect.getclosurevars(value)
    except ValueError:  # it uses what is not defined yet
        return
    yield from _of_mapping(used.nonlocals, seen)
    yield from _of_mapping(used.globals, seen)


def _of_method(value: MethodType, seen: Seen) -> Pieces:
    return _each((value.__func__, value.__self__), seen)


def _of_partial(value: functools.partial[Any], seen: Seen) -> Pieces:
    return _each((value.func, value.args, value.keywords), seen)


def _of_module(value: ModuleType, seen: Seen) -> Pieces:
    yield value.__name__.encode()


def _of_object(value: Any, seen: Seen) -> Pieces:
    """Tensors and arrays by their values, others by their class and, where these can be known, their attributes."""
    yield from _pieces(type(value), seen)
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        yield from _of_tensor(value)
    elif numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        yield from _of_array(value, seen)
    elif torch is not None and isinstance(value, torch.dtype | torch.device | torch.Size):
        yield repr(value).encode()
    elif (
        _is_own(type(value))
        or dataclasses.is_dataclass(value)
        or (torch is not None and isinstance(value, torch.nn.Module))
    ):
        yield from _of_mapping(_attributes(value), seen)


def _attributes(value: Any) -> dict[str, Any]:
    slots = [slot for kind in type(value).__mro__ for slot in vars(kind).get("__slots__", ())]
    found = {slot: getattr(value, slot) for slot in slots if slot != "__dict__" and hasattr(value, slot)}
    return found | getattr(value, "__dict__", {})


def _of_tensor(value: Any) -> Pieces:
    import torch

    yield f"{value.dtype} {tuple(value.shape)} {value.requires_grad} {value.layout}".encode()
    held = value.detach().to_dense() if value.layout != torch.strided else value.detach()
    if held.device.type != "meta":
        held = held.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        yield held.view(torch.uint8).numpy().tobytes()


def _of_array(value: Any, seen: Seen) -> Pieces:
    import numpy as np

    yield f"{value.dtype.str} {value.shape}".encode()
    if value.dtype.hasobject:
        yield from _each(value.reshape(-1).tolist(), seen)
    else:
        yield np.ascontiguousarray(value).tobytes()


def _is_own(value: type | Callable[..., Any]) -> bool:
    """Whether a class or function is the user's, and neither installed nor Python's nor biograd's."""
    name = value.__module__ or "builtins"
    if name.partition(".")[0] in ("biograd", *sys.stdlib_module_names) and name != "__main__":
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or not is_installed(Path(file))


def _source(value: type | FunctionType) -> bytes:
    """The text of a definition; of a lambda, which shares its lines with others, what it was compiled to."""
    is_function = isinstance(value, FunctionType)
    if is_function and value.__name__ == "<lambda>":
        return _compiled(value.__code__)
    try:
        return inspect.getsource(value).encode()
    except (OSError, TypeError):  # typed in, and kept nowhere
        return _compiled(value.__code__) if is_function else b""


def _compiled(code: CodeType) -> bytes:
    constants = [_compiled(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return repr((code.co_code, constants, code.co_names, code.co_varnames)).encode()


_KINDS: list[tuple[Any, Callable[..., Pieces]]] = [
    (Mapping, _of_mapping),
    ((list, tuple), _each),
    (Set, _of_set),
    (type, _of_class),
    (FunctionType, _of_function),
    (MethodType, _of_method),
    (functools.partial, _of_partial),
    (ModuleType, _of_module),
]
