"""What an object of a program is known by: a digest of all that it holds and is made of, the same in every process.

Numbers, texts, containers and tensors are known by their values; classes and functions of the user's own by their
source, and by what they use, in turn; objects by their class and their attributes. Classes and functions that are
installed are known by their names, objects of theirs by what they could be made anew of.
"""

import copyreg
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from biograd.user_files import contents, is_installed

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
    held = vars(value).items()
    yield from _of_mapping({name: part for name, part in held if _is_written(name, part)}, seen)


def _is_written(name: str, part: Any) -> bool:
    """Whether an entry of a class is the user's, and not what Python notes of every class."""
    return isinstance(part, FunctionType) or not (name.startswith("__") or name == "_abc_impl")


def _of_function(value: FunctionType, seen: Seen) -> Pieces:
    yield value.__qualname__.encode()
    if not _is_own(value):
        yield value.__module__.encode()
        return
    yield _source(value)
    yield from _each((value.__defaults__, value.__kwdefaults__), seen)
    cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    yield from _of_mapping({name: cell.cell_contents for name, cell in cells if _is_filled(cell)}, seen)
    names = dict.fromkeys(_names(value.__code__))
    yield from _of_mapping(
        {name: value.__globals__[name] for name in names if name in value.__globals__}, seen
    )


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  raises where nothing is in it yet
    except ValueError:
        return False
    return True


def _names(code: CodeType) -> Iterator[str]:
    """The names that a function looks up, and the functions and comprehensions within it."""
    yield from code.co_names
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _names(one)


def _of_method(value: MethodType, seen: Seen) -> Pieces:
    return _each((value.__func__, value.__self__), seen)


def _of_partial(value: functools.partial[Any], seen: Seen) -> Pieces:
    return _each((value.func, value.args, value.keywords), seen)


def _of_wrapper(value: Any, seen: Seen) -> Pieces:
    """A method of a class, a property, or a function that remembers what it gave."""
    parts = ("__func__", "__wrapped__", "fget", "fset", "fdel", "func")
    return _each((getattr(value, part) for part in parts if hasattr(value, part)), seen)


def _of_module(value: ModuleType, seen: Seen) -> Pieces:
    """By its name, and where it is the user's own by its file and those that it imports."""
    yield value.__name__.encode()
    file = getattr(value, "__file__", None)
    if file is not None and _is_own_name(value.__name__) and not is_installed(Path(file)):
        yield from _each(sorted(contents(Path(file)).values()), seen)


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
    elif _is_own(type(value)) or (torch is not None and isinstance(value, torch.nn.Module)):
        yield from _of_mapping(_attributes(value), seen)
    else:
        yield from _each(_remade_of(value), seen)


def _remade_of(value: Any) -> list[Any]:
    """What an object could be made anew of, as copying and pickling have it; nothing where it cannot."""
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        found = value.__reduce_ex__(2) if reduce is None else reduce(value)
    except Exception:  # whatever it raises: a lock, an open file
        return []
    parts = [found] if isinstance(found, str) else found
    return [list(part) if isinstance(part, Iterator) else part for part in parts]


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
    file = getattr(sys.modules.get(name), "__file__", None)
    return _is_own_name(name) and (file is None or not is_installed(Path(file)))


def _is_own_name(module: str) -> bool:
    return module == "__main__" or module.partition(".")[0] not in ("biograd", *sys.stdlib_module_names)


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
    (
        (staticmethod, classmethod, property, functools.cached_property, functools._lru_cache_wrapper),
        _of_wrapper,
    ),
]
