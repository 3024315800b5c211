"""Calls of the functions that multiply by a weight, taken apart into what goes in and what is done with it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from biograd.credit.operations import (
    ColumnProduct,
    Convolution,
    Linear,
    LocallyConnected,
    LocallyConnectedTranspose,
    Operation,
    RowProduct,
)


class Call(NamedTuple):
    """One call of a weight operation, taken apart: what goes in, and what is done with it.

    Attributes:
        x: the input with its batch dimension.
        weight: the weight as the net passed it.
        bias: the bias or None.
        operation: what is done.
        batched: False where the net passed one example without a batch dimension.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    operation: Operation
    batched: bool = True

    def computed(self) -> Tensor:
        """The output of what is done."""
        return self.operation.forward(self.x, self.weight, self.bias)


_LINEAR = Linear()


def parse_linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call:
    """A call of `torch.nn.functional.linear`."""
    return Call(input, weight, bias, _LINEAR)


def parse_convolution(dimensions: int) -> Callable[..., Call]:
    """What takes apart a call of `torch.nn.functional.conv1d` to ``conv3d``."""

    def parse(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Call:
        x, batched = _with_batch(input, dimensions)
        spread = _each(dilation, dimensions)
        if padding == "same":
            if any(step != 1 for step in _each(stride, dimensions)):
                raise ValueError(f"padding='same' needs stride 1, got {stride}; give the padding as numbers")
            x, padding = _pad_same(x, weight.shape[2:], spread)
        edges = (0,) * dimensions if padding == "valid" else _each(padding, dimensions)
        zeros = (0,) * dimensions
        operation = Convolution(_each(stride, dimensions), edges, spread, False, zeros, groups)
        return Call(x, weight, bias, operation, batched)

    return parse


def parse_transposed_convolution(dimensions: int) -> Callable[..., Call]:
    """What takes apart a call of `torch.nn.functional.conv_transpose1d` to ``conv_transpose3d``."""

    def parse(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Call:
        x, batched = _with_batch(input, dimensions)
        stride, padding, dilation, output_padding = (
            _each(value, dimensions) for value in (stride, padding, dilation, output_padding)
        )
        operation = Convolution(stride, padding, dilation, True, output_padding, groups)
        return Call(x, weight, bias, operation, batched)

    return parse


def parse_locally_connected(dimensions: int) -> Callable[..., Call]:
    """What takes apart a call of `biograd.layers.locally_connected1d` to ``locally_connected3d``."""

    def parse(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Call:
        x, batched = _with_batch(input, dimensions)
        operation = LocallyConnected(dimensions, stride, padding, dilation, groups)
        return Call(x, weight, bias, operation, batched)

    return parse


def parse_locally_connected_transpose(dimensions: int) -> Callable[..., Call]:
    """What takes apart a call of `biograd.layers.locally_connected_transpose1d`, or over two or three dimensions."""

    def parse(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        output_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Call:
        x, batched = _with_batch(input, dimensions)
        operation = LocallyConnectedTranspose(dimensions, output_size, stride, padding, dilation, groups)
        return Call(x, weight, bias, operation, batched)

    return parse


IsWeight = Callable[[Any, Any], bool]
"""Whether the first of two factors is a weight beside the second, which no function of two matrices says of itself."""


def _parse_product(multiply: Callable[..., Tensor]) -> Callable[..., Call | None]:
    """What takes apart a call of a function of two matrices; None where it is no product of one weight."""

    def parse(
        is_weight: IsWeight,
        input: Tensor,
        other: Tensor | None = None,
        *,
        mat2: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Call | None:
        return _one_weight(is_weight, multiply, input, mat2 if other is None else other, None, out)

    return parse


def _parse_added_product(
    is_weight: IsWeight,
    input: Tensor,
    mat1: Tensor,
    mat2: Tensor,
    *scales: Any,
    beta: float = 1,
    alpha: float = 1,
    out: Tensor | None = None,
) -> Call | None:
    """A call of `torch.addmm`; None where it scales its terms too, or what it adds is a weight."""
    if scales or (beta, alpha) != (1, 1) or is_weight(input, mat1):
        return None
    return _one_weight(is_weight, torch.mm, mat1, mat2, input, out)


def _parse_reversed_product(is_weight: IsWeight, input: Tensor, other: Tensor) -> Call | None:
    """A call of ``other @ input`` that is the second's."""
    return _one_weight(is_weight, torch.matmul, other, input, None, None)


def _one_weight(
    is_weight: IsWeight, multiply: Callable[..., Tensor], left: Any, right: Any, bias: Tensor | None, out: Any
) -> Call | None:
    if out is not None or not (isinstance(left, Tensor) and isinstance(right, Tensor)):
        return None
    is_left, is_right = is_weight(left, right), is_weight(right, left)
    if is_left == is_right or (left if is_left else right).dim() < 2:
        return None
    bias_shape = torch.Size() if bias is None else bias.shape
    if is_right:
        return Call(left, right, bias, RowProduct(multiply, left.shape, bias_shape))
    return Call(right, left, bias, ColumnProduct(multiply, right.shape, bias_shape))


_matmul, _mm, _bmm = (_parse_product(multiply) for multiply in (torch.matmul, torch.mm, torch.bmm))

PRODUCTS: dict[Callable[..., Any], Callable[..., Call | None]] = {
    torch.matmul: _matmul,
    torch.Tensor.matmul: _matmul,
    torch.Tensor.__matmul__: _matmul,
    torch.Tensor.__rmatmul__: _parse_reversed_product,
    torch.linalg.matmul: _matmul,
    torch.mm: _mm,
    torch.Tensor.mm: _mm,
    torch.bmm: _bmm,
    torch.Tensor.bmm: _bmm,
    torch.addmm: _parse_added_product,
    torch.Tensor.addmm: _parse_added_product,
}
"""The functions of two matrices either of which may be a weight, each with what takes its arguments apart."""


def _with_batch(x: Tensor, dimensions: int) -> tuple[Tensor, bool]:
    batched = x.dim() != dimensions + 1
    return (x if batched else x.unsqueeze(0)), batched


def _each(value: Any, dimensions: int) -> tuple[int, ...]:
    """One value a dimension, from a number or a sequence of one or of all."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * dimensions if len(values) == 1 else values


def _pad_same(x: Tensor, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """The symmetric part of "same" padding; the odd column, at the end of a dimension, is padded here."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    odd = [t % 2 for t in total]
    if any(odd):
        x = F.pad(x, [edge for extra in reversed(odd) for edge in (0, extra)])
    return x, tuple(t // 2 for t in total)
