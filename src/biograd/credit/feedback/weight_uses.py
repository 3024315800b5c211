"""What functions other than products do with a weight: whether an error could travel back through them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from biograd.credit.graph import is_computed
from biograd.credit.kinds import EXACT_FUNCTIONS, Exact


def _of_both(*names: str) -> frozenset[Any]:
    """The functions of these names, those of PyTorch and those of its tensors, where there are such."""
    return frozenset(
        getattr(place, name) for name in names for place in (torch, torch.Tensor) if hasattr(place, name)
    )


_NEW: frozenset[Any] = frozenset(
    {torch.zeros_like, torch.ones_like, torch.full_like, torch.empty_like, torch.rand_like, torch.randn_like}
)
_SUMS: frozenset[Any] = frozenset(
    {torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__, torch.Tensor.__iadd__, torch.add}
    | {torch.Tensor.add_, torch.Tensor.sub, torch.Tensor.__sub__, torch.sub}
)
_JOINS: frozenset[Any] = _of_both(
    "cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack", "where"
) | {torch.Tensor.__setitem__, torch.Tensor.masked_fill, torch.masked_fill}
_GAINS: frozenset[Any] = _of_both(
    "mul", "multiply", "div", "divide", "mul_", "div_", "__mul__", "__rmul__", "__truediv__", "addcmul"
) | {torch.Tensor.__imul__, torch.Tensor.__itruediv__}
_TAKE_A_FORM: frozenset[Any] = frozenset(
    {torch.Tensor.to, torch.Tensor.type_as, torch.Tensor.view_as, torch.Tensor.expand_as}
)
_DERIVATIVES = (torch.autograd.grad, torch.autograd.backward, torch.Tensor.backward)


def is_sum(func: Any) -> bool:
    """Whether a function adds or subtracts."""
    return func in _SUMS


def is_join(func: Any) -> bool:
    """Whether a function puts tensors beside one another, or one in the place of a part of another."""
    return func in _JOINS


def is_harmless(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a function's derivative by its input does not depend on the parameter, or it is a normalisation."""
    kind = EXACT_FUNCTIONS.get(func)
    if kind is not None and isinstance(kind.feedback, Exact):
        return not kind.feedback.carries(args, kwargs)
    return func in _SUMS or func in _JOINS or func in _NEW


def scales(func: Any) -> bool:
    """Whether a function multiplies entry by entry."""
    return func in _GAINS


def is_gain(func: Any, others: list[Tensor], result: Any) -> bool:
    """Whether a function multiplies entry by entry, and spreads nothing that carries an error over more places."""
    return func in _GAINS and all(other.shape == result.shape for other in others if other.requires_grad)


def takes_a_form(func: Any, weight: Tensor, args: tuple[Any, ...]) -> bool:
    """Whether a function reads nothing of a weight, which is not its first argument, but shape, dtype or device."""
    return func in _TAKE_A_FORM and weight is not args[0]


def differentiates(func: Any) -> bool:
    """Whether a function runs a backward."""
    return func in _DERIVATIVES


def is_still_a_weight(func: Any, weight: Tensor, others: list[Tensor], result: Any) -> bool:
    """Whether a sum, gain or join of a weight makes a weight (noise was added), not an activation (an offset).

    Args:
        func: the function.
        weight: or what was made of one.
        others: what else it takes, and is no weight.
        result: what it gave.
    """
    if not (func in _JOINS or ((func in _SUMS or func in _GAINS) and result.shape == weight.shape)):
        return False
    if isinstance(result, Tensor) and any(result is other for other in others) and result.grad_fn is not None:
        return not is_computed(
            result.grad_fn.next_functions[0][0]
        )  # in place: what it was shows in the graph alone
    return all(other.grad_fn is None for other in others)


def name_of(func: Any) -> str:
    """What messages call a function."""
    return getattr(func, "__qualname__", None) or getattr(func, "__name__", str(func))
