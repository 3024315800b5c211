"""The product of a locally connected layer and its two derivatives, as functions that autograd knows.

With x the input, w the filters and g the derivative by the output, all three are partial derivatives of one
form that is linear in each, ``T(g, x, w) = Σ g · product(x, w)``:

    product(x, w)          by g
    input_gradient(g, w)   by x
    weight_gradient(g, x)  by w

so that the derivatives of each are the other two, to any order. They are derivatives of the operators in `kernels`, so
that compiled and exported programs have them too. Transforms of `torch.func` take autograd functions alone, which cost
more: PyTorch takes their arguments apart at every call.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function

from biograd.layers.local.geometry import Geometry
from biograd.layers.local.kernels import OPERATORS
from biograd.layers.local.memory import is_batch_last


def product(x: Tensor, w: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """The output ``(batch, out_channels, *positions)``; the bias is one example of it, without the batch."""
    run = _Product.apply if is_transforming() else OPERATORS.locally_connected_product
    return cast(Tensor, run(x, w, bias, geometry.pack()))


def input_gradient(
    g: Tensor, w: Tensor, geometry: Geometry, size: tuple[int, ...], batch_last: bool = True
) -> Tensor:
    """The derivative by the input of a ``size``, for ``g`` of the output's shape.

    Its memory has the batch last or is contiguous: what suits the input.
    """
    run = _InputGradient.apply if is_transforming() else OPERATORS.locally_connected_input_gradient
    return cast(Tensor, run(g, w, geometry.pack(), size, batch_last))


def weight_gradient(g: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
    """The derivative by the filters, for ``g`` of the output's shape and the input ``x``."""
    run = _WeightGradient.apply if is_transforming() else OPERATORS.locally_connected_weight_gradient
    return cast(Tensor, run(g, x, geometry.pack()))


def is_transforming() -> bool:
    """Whether a transform of `torch.func` is at work."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


class _Product(Function):
    @staticmethod
    def forward(x: Tensor, w: Tensor, bias: Tensor | None, geometry: Sequence[int]) -> Tensor:
        return OPERATORS.locally_connected_product(x, w, bias, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, w, _, geometry = inputs
        ctx.geometry = Geometry.unpack(geometry)
        ctx.save_for_backward(x, w)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        (x, w), (g,), geometry = ctx.saved_tensors, grads, ctx.geometry
        need_x, need_w, need_bias, _ = ctx.needs_input_grad
        size = tuple(x.shape[2:])
        by_x = input_gradient(g, w.conj(), geometry, size, is_batch_last(x)) if need_x else None
        by_w = weight_gradient(g, x.conj(), geometry) if need_w else None
        return by_x, by_w, g.sum(0) if need_bias else None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Tensor, int]:
        return _map(_Product.apply, info.batch_size, in_dims, inputs, is_by_example=True)


class _InputGradient(Function):
    @staticmethod
    def forward(
        g: Tensor, w: Tensor, geometry: Sequence[int], size: tuple[int, ...], batch_last: bool
    ) -> Tensor:
        return OPERATORS.locally_connected_input_gradient(g, w, geometry, size, batch_last)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        g, w, geometry, *_ = inputs
        ctx.geometry = Geometry.unpack(geometry)
        ctx.save_for_backward(g, w)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (g, w), (need_g, need_w, *_) = ctx.saved_tensors, ctx.needs_input_grad
        by_g = product(grads[0], w.conj(), None, ctx.geometry) if need_g else None
        by_w = weight_gradient(g.conj(), grads[0], ctx.geometry) if need_w else None
        return by_g, by_w, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Tensor, int]:
        return _map(_InputGradient.apply, info.batch_size, in_dims, inputs, is_by_example=True)


class _WeightGradient(Function):
    @staticmethod
    def forward(g: Tensor, x: Tensor, geometry: Sequence[int]) -> Tensor:
        return OPERATORS.locally_connected_weight_gradient(g, x, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        g, x, geometry = inputs
        ctx.geometry = Geometry.unpack(geometry)
        ctx.save_for_backward(g, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (g, x), (need_g, need_x, _) = ctx.saved_tensors, ctx.needs_input_grad
        size = tuple(x.shape[2:])
        by_g = product(x.conj(), grads[0], None, ctx.geometry) if need_g else None
        by_x = input_gradient(g.conj(), grads[0], ctx.geometry, size) if need_x else None
        return by_g, by_x, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Tensor, int]:
        return _map(_WeightGradient.apply, info.batch_size, in_dims, inputs, is_by_example=False)


def _map(
    function: Callable[..., Tensor], count: int, in_dims: Any, inputs: tuple[Any, ...], is_by_example: bool
) -> tuple[Tensor, int]:
    """``function`` mapped over the dimensions that `torch.func.vmap` names.

    Where it treats examples by themselves and only they are mapped, the mapped dimension joins the batch.
    """
    dims = [dim if isinstance(dim, int) else None for dim in in_dims]
    if is_by_example and all(dim is None for dim in dims[1:]):
        examples = inputs[0].movedim(dims[0], 0)
        results = function(examples.flatten(0, 1), *inputs[1:])
        return results.unflatten(0, examples.shape[:2]), 0
    columns = [
        [value] * count if dim is None else value.unbind(dim) for value, dim in zip(inputs, dims, strict=True)
    ]
    return torch.stack([function(*row) for row in zip(*columns, strict=True)]), 0


for _name, _function in (
    ("product", _Product),
    ("input_gradient", _InputGradient),
    ("weight_gradient", _WeightGradient),
):
    torch.library.register_autograd(
        f"biograd::locally_connected_{_name}", _function.backward, setup_context=_function.setup_context
    )
