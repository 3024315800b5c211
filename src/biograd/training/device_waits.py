"""Notices where a computation would have its host wait for a device, on any device."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from biograd.credit.structures import tensors_in

_READING = {
    "_local_scalar_dense",  # what item(), bool(), int() and a branch on a tensor come to
    "equal",
    "is_nonzero",
    "lift_fresh",  # a tensor made of Python's numbers, which have to be sent
    "masked_select",
    "nonzero",
    "repeat_interleave.Tensor",
    "_unique",
    "_unique2",
    "unique_consecutive",
    "unique_dim",
    "bincount",
}
"""Operators whose result, or whose shape, the host needs."""

_TAKING = (
    Tensor.__array__,
    Tensor.__bool__,
    Tensor.__float__,
    Tensor.__index__,
    Tensor.__int__,
    Tensor.cpu,
    Tensor.item,
    Tensor.numpy,
    Tensor.tolist,
)
"""What takes numbers to the host, without an operator where they are there."""

OnWait = Callable[[str], object]
"""Is called with the name of what waits."""


class DeviceWaits:
    """A context that tells of all that would wait for a device, were tensors on one.

    Args:
        on_wait: is told; what it raises comes through.

    Example:
        >>> found = []
        >>> with DeviceWaits(found.append):
        ...     bool(torch.ones(2).sum() > 1)
        True
        >>> found
        ['Tensor.__bool__']
    """

    def __init__(self, on_wait: OnWait) -> None:
        self._functions, self._operators = _Functions(on_wait), _Operators(on_wait)

    def __enter__(self) -> None:
        self._operators.__enter__()
        self._functions.__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._functions.__exit__(*raised)
        self._operators.__exit__(*raised)


class _Functions(TorchFunctionMode):
    """Sees what is asked of a tensor in Python, and lets no operator within it be told of a second time."""

    def __init__(self, on_wait: OnWait) -> None:
        super().__init__()
        self._on_wait = on_wait

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _TAKING:
            self._on_wait(f"Tensor.{func.__name__}")
            with _disable_current_modes():
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    """Sees operators, those of a backward too."""

    def __init__(self, on_wait: OnWait) -> None:
        super().__init__()
        self._on_wait = on_wait

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = _name(func)
        if name in _READING or name.partition(".")[0] in _READING or _picks_by_mask(name, args):
            self._on_wait(name)
        result = func(*args, **(kwargs or {}))
        if _crosses(args, result):
            self._on_wait(f"{name} from one device to another")
        return result


def _name(func: Any) -> str:
    """``item.overload`` of an operator, without an overload that is the default one."""
    return str(func).removeprefix("aten.").removesuffix(".default")


def _picks_by_mask(name: str, args: Any) -> bool:
    """Whether numbers are picked by truth values: how many there are is known when these are read."""
    if not name.startswith(("index.", "index_put", "_index_put")) or len(args) < 2:
        return False
    return any(place is not None and place.dtype in (torch.bool, torch.uint8) for place in args[1])


def _crosses(args: Any, result: Any) -> bool:
    """Whether tensors of several devices took part; numbers from the CPU go along with a call."""
    taking_part = [t for t in tensors_in((args, result)) if t.dim() or t.device.type != "cpu"]
    return len({t.device for t in taking_part}) > 1
