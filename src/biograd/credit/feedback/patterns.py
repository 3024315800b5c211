"""Attention whose patterns are constants to errors, which then reach values alone."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from biograd.credit.calls import PRODUCTS
from biograd.credit.feedback.forms import FORMS
from biograd.credit.feedback.unrolled import UNROLLED, Under
from biograd.credit.feedback.weight_uses import scales
from biograd.credit.structures import tensors_in
from biograd.errors import UnsupportedNet

Attention = Literal["exact", "pattern"]
"""Whether errors pass queries, keys and values exactly, or values alone."""

_SOFTMAXES = frozenset({torch.softmax, torch.Tensor.softmax, F.softmax, torch.special.softmax})
# By the functions themselves: a compiler cannot read their names.
_PRODUCTS = {*PRODUCTS, torch.einsum, torch.baddbmm, torch.Tensor.baddbmm, torch.tensordot, torch.inner}
_KEEP = FORMS | {
    F.dropout,
    torch.dropout,
    torch.nan_to_num,
    torch.Tensor.nan_to_num,
    torch.Tensor.masked_fill,
}


class ConstantPatterns(TorchFunctionMode):
    """A context in which no error passes what a softmax gave, where it weighs activations in a product.

    So in PyTorch's attention, and in attention by hand, ``softmax(…) @ v``.

    Args:
        is_weight: whether a tensor was made of a weight: a product with one is a layer.
    """

    def __init__(self, is_weight: Callable[[Tensor], bool]) -> None:
        super().__init__()
        self._is_weight = is_weight
        self._patterns: dict[Tensor, None] = {}
        self._has_found = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Cut errors off where a pattern weighs values, let all else pass."""
        kwargs = kwargs or {}
        if func in UNROLLED:
            with Under(self):
                return UNROLLED[func](*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            self._has_found = True
            return func(*map(_detached, args[:2]), *args[2:], **_without_errors(kwargs))
        if func in _PRODUCTS and self._weighs_activations((args, kwargs)):
            self._has_found = True
            return func(
                *map(self._constant, args), **{key: self._constant(value) for key, value in kwargs.items()}
            )
        result = func(*args, **kwargs)
        if func in _SOFTMAXES or self._is_still_a_pattern(func, args, kwargs):
            self._patterns.update(dict.fromkeys(tensors_in(result)))
        return result

    def check(self) -> None:
        """Refuse a net that ran inside and has no attention.

        Raises:
            UnsupportedNet: it has none that could be seen.
        """
        if not self._has_found:
            raise UnsupportedNet(
                'attention="pattern" cuts errors off where a softmax weighs activations, and the net does that '
                "nowhere, neither in PyTorch's attention nor as softmax(…) @ v; leave the setting out"
            )

    def _weighs_activations(self, given: Any) -> bool:
        factors = list(tensors_in(given))
        others = [tensor for tensor in factors if tensor not in self._patterns]
        is_layer = any(isinstance(other, nn.Parameter) or self._is_weight(other) for other in others)
        return len(others) < len(factors) and not is_layer

    def _constant(self, value: Any) -> Any:
        return value.detach() if isinstance(value, Tensor) and value in self._patterns else value

    def _is_still_a_pattern(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> bool:
        """Whether a function moves, drops or masks entries of a pattern."""
        if not args or not isinstance(args[0], Tensor) or args[0] not in self._patterns:
            return False
        return func in _KEEP or (
            scales(func) and not any(t.requires_grad for t in tensors_in((args[1:], kwargs)))
        )


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach()


def _without_errors(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value.detach() if name in ("query", "key") else value for name, value in kwargs.items()}
