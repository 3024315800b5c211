"""Forwards that run again inside the backward, where no feedback path is in force: errors would pass exactly."""

import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from biograd.credit.calls import PRODUCTS
from biograd.credit.feedback.unrolled import UNROLLED
from biograd.credit.kinds import PARSERS, WRITTEN_OUT
from biograd.credit.structures import tensors_in
from biograd.errors import UnsupportedNet

CHECKPOINTING = (
    "the net uses activation checkpointing, whose second forward would let errors travel back exactly; switch "
    "checkpointing off, or use the rule bp"
)
_autograd = torch._C._autograd  # pyright: ignore[reportAttributeAccessIssue]
_top_hooks = getattr(_autograd, "_top_saved_tensors_default_hooks", None)  # PyTorch 2.8 and later


def watchers_of_saved_tensors() -> set[str]:
    """The modules whose hooks see what is saved for the backward now, and so may run a forward again in it.

    PyTorch 2.8 and later know the hook. For earlier ones these are all modules on the call stack.
    """
    if _top_hooks is None:
        return set(_calling_modules())
    hooks = _top_hooks(True)
    return set() if hooks is None else {getattr(hooks[0], "__module__", "")}


class NoForward(TorchFunctionMode):
    """Raises when a taught weight is used: during a backward, only a repeated forward does that.

    Args:
        taught: the weights.
    """

    def __init__(self, taught: Collection[Tensor]) -> None:
        super().__init__()
        self._taught = taught

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Refuse a weight operation on a taught weight, let all else pass."""
        is_product = func in PARSERS or func in PRODUCTS or func in UNROLLED or func in WRITTEN_OUT
        if is_product and any(tensor in self._taught for tensor in tensors_in((args, kwargs or {}))):
            refuse_second_forward()
        return func(*args, **(kwargs or {}))


def refuse_second_forward() -> None:
    """Raise `UnsupportedNet`."""
    raise UnsupportedNet(CHECKPOINTING)


def _calling_modules() -> Iterator[str]:
    frame = sys._getframe()
    while frame is not None:
        yield frame.f_globals.get("__name__", "")
        frame = frame.f_back
