"""Functions of PyTorch's that hide products with weights, as plain Python whose products a feedback path sees."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


def _without_override(function: Any) -> Callable[..., Any]:
    """The same code, which does not ask whether a mode wants to run it instead.

    A compiler would look its globals up in the module that they say they are of, and find the question again.
    """
    names = {name: value for name, value in function.__globals__.items() if name != "__name__"}
    names |= {"has_torch_function": lambda tensors: False}
    plain = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    plain.__kwdefaults__ = function.__kwdefaults__
    return plain


UNROLLED: dict[Callable[..., Any], Callable[..., Any]] = {
    F.multi_head_attention_forward: _without_override(F.multi_head_attention_forward),
}
"""Each function with one that computes the same, bit for bit, out of functions that a mode can see."""


class Under(TorchFunctionMode):
    """A context in which a mode sees what it runs itself: PyTorch takes a mode away while it handles a call.

    Args:
        mode: that handles a call now.
    """

    def __init__(self, mode: TorchFunctionMode) -> None:
        super().__init__()
        self._mode = mode

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """What the mode does with it."""
        if func is torch.Tensor.unflatten:
            func = torch.unflatten  # which a compiler can follow under a mode
        return self._mode.__torch_function__(func, types, args, kwargs)
