"""Calls of the functions that multiply by a weight, taken apart into what goes in and what is done with it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from biograd.credit.operations import (
    Convolution,
    Linear,
    LocallyConnected,
    LocallyConnectedTranspose,
    Operation,
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


def parse_locally_connected(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Call:
    """A call of `biograd.layers.locally_connected2d`."""
    x, batched = _with_batch(input, 2)
    return Call(x, weight, bias, LocallyConnected(stride, padding, dilation, groups), batched)


def parse_locally_connected_transpose(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    output_size: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Call:
    """A call of `biograd.layers.locally_connected_transpose2d`."""
    x, batched = _with_batch(input, 2)
    operation = LocallyConnectedTranspose(output_size, stride, padding, dilation, groups)
    return Call(x, weight, bias, operation, batched)


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
