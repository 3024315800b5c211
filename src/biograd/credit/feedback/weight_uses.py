"""What functions other than products do with a weight: whether an error could travel back through them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from biograd.credit.graph import is_computed
from biograd.credit.kinds import EXACT_FUNCTIONS, Exact
from biograd.credit.structures import tensors_in

_NEW: frozenset[Any] = frozenset(
    {torch.zeros_like, torch.ones_like, torch.full_like, torch.empty_like, torch.rand_like, torch.randn_like}
)
_SUMS: frozenset[Any] = frozenset(
    {torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__, torch.Tensor.__iadd__, torch.add}
    | {torch.Tensor.add_, torch.Tensor.sub, torch.Tensor.__sub__, torch.sub}
)
_TAKE_A_FORM: frozenset[Any] = frozenset(
    {torch.Tensor.to, torch.Tensor.type_as, torch.Tensor.view_as, torch.Tensor.expand_as}
)
_DERIVATIVES = (torch.autograd.grad, torch.autograd.backward, torch.Tensor.backward)


def is_sum(func: Any) -> bool:
    """Whether a function adds or subtracts."""
    return func in _SUMS


def is_harmless(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a function's derivative by its input does not depend on the parameter, or it is a normalisation."""
    kind = EXACT_FUNCTIONS.get(func)
    if kind is not None and isinstance(kind.feedback, Exact):
        return not kind.feedback.carries(args, kwargs)
    return func in _SUMS or func in _NEW


def takes_a_form(func: Any, weight: Tensor, args: tuple[Any, ...]) -> bool:
    """Whether a function reads nothing of a weight, which is not its first argument, but shape, dtype or device."""
    return func in _TAKE_A_FORM and weight is not args[0]


def differentiates(func: Any) -> bool:
    """Whether a function runs a backward."""
    return func in _DERIVATIVES


def is_still_a_weight(func: Any, weight: Tensor, args: tuple[Any, ...], result: Tensor) -> bool:
    """Whether a sum with a weight makes a weight (noise was added), not an activation (an offset)."""
    if func not in _SUMS or result.shape != weight.shape:
        return False
    if result is args[0] and result.grad_fn is not None:  # in place: what it was shows in the graph alone
        return not is_computed(result.grad_fn.next_functions[0][0])
    return all(t.grad_fn is None for t in tensors_in(args) if t is not weight)


def name_of(func: Any) -> str:
    """What messages call a function."""
    return getattr(func, "__qualname__", None) or getattr(func, "__name__", str(func))
