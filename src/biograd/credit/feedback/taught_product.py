"""A weight operation inside autograd whose errors travel back through another weight."""

from typing import Any

import torch
from torch import Tensor

from biograd.credit.operations import Following, Gradients, Lent, Operation, Signed, signed
from biograd.layers.local.products import is_transforming


def taught_product(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    feedback: Tensor | Signed | Following | Lent,
    operation: Operation,
) -> Tensor:
    """``operation.forward(x, weight, bias)``, bit for bit, with ``feedback`` in its backward.

    Follows autocast, `torch.compile` and the transforms of `torch.func`.

    Args:
        x: the input with its batch dimension.
        weight: carries activity forward.
        bias: as the operation takes it, or None.
        feedback: carries errors back, in the shape, dtype and device of the weight; or the magnitudes that the
            signs of the weight are given when an error comes back; or a matrix that the weight's gradient goes to too;
            or one that is lent for a while.
        operation: what is done.
    """
    if isinstance(feedback, Lent):
        x, W = _as_autocast(x, weight.detach())
        return _LentProduct.apply(x, weight, bias, W, operation, feedback)  # pyright: ignore[reportReturnType]
    if isinstance(feedback, Signed):
        B, magnitude = weight.detach(), feedback.magnitude
    elif isinstance(feedback, Following):
        B, magnitude = feedback.matrix, None
    else:
        B, magnitude = feedback, None
    if is_transforming():
        B, magnitude = signed(B, magnitude), None
    dtype = _autocast_dtype(x)
    if dtype is not None:
        x, B, magnitude = x.to(dtype), B.to(dtype), None if magnitude is None else magnitude.to(dtype)
    function = _TransformableProduct if is_transforming() else _Product
    return function.apply(x, weight, bias, B, operation, magnitude)  # pyright: ignore[reportReturnType]


def is_taught(node: Any) -> bool:
    """Whether a node of an autograd graph is a taught product's."""
    return isinstance(node, _NODES) or node.name() == _VECTORISED


class _Product(torch.autograd.Function):
    """The plain form: PyTorch takes the arguments of the other one apart anew at every call, which costs."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, weight: Tensor, bias: Any, feedback: Tensor, operation: Any, magnitude: Any
    ) -> Tensor:
        _keep(ctx, x, bias, feedback, operation, magnitude)
        return _as_no_view(operation.forward(x, weight, bias))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (*_gradients(ctx, grad), None, None)


class _TransformableProduct(torch.autograd.Function):
    """The form that `torch.func.vmap` and ``grad`` can transform."""

    generate_vmap_rule = True

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        x: Tensor, weight: Tensor, bias: Any, feedback: Tensor, operation: Any, magnitude: Any
    ) -> Tensor:
        return operation.forward(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, _, bias, feedback, operation, magnitude = inputs
        _keep(ctx, x, bias, feedback, operation, magnitude)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (*_gradients(ctx, grad), None, None)


class _LentProduct(torch.autograd.Function):
    """The form whose errors travel back through the weight itself unless another one is lent."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, weight: Tensor, bias: Any, own: Tensor, operation: Any, lent: Lent
    ) -> Tensor:
        _keep(ctx, x, bias, own, operation, None)
        ctx.lent = lent
        return _as_no_view(operation.forward(x, weight, bias))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        lent = ctx.lent.matrix()
        if lent is None:
            return (*_gradients(ctx, grad), None, None)
        x, own, _ = ctx.saved_tensors
        needs = (ctx.needs_input_grad[0], False, False)  # what is lent carries errors, and teaches nothing
        return (*ctx.operation.backward(grad, x, lent.to(own.dtype), needs), None, None, None)


# `torch.vmap` makes a class of its own at every call.
_VECTORISED = f"Vmapped{_TransformableProduct.__name__}Backward"
_NODES = tuple(
    function._backward_cls  # pyright: ignore[reportAttributeAccessIssue]
    for function in (_Product, _TransformableProduct, _LentProduct)
)


def _keep(
    ctx: Any, x: Tensor, bias: Tensor | None, feedback: Tensor, operation: Operation, magnitude: Tensor | None
) -> None:
    is_taught = ctx.needs_input_grad[1]
    ctx.save_for_backward(x if is_taught or operation.needs_input else None, feedback, magnitude)
    ctx.has_bias, ctx.operation = bias is not None, operation


def _as_no_view(output: Tensor) -> Tensor:
    """An output that a layer behind may overwrite: PyTorch forbids that of views that are made where it cannot look."""
    if torch.compiler.is_compiling() or output._is_view():  # a compiler does not say which are
        return torch.ops.aten._unsafe_view(output, output.shape)
    return output


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Of input, weight, bias and feedback weight."""
    x, feedback, magnitude = ctx.saved_tensors
    for_x, for_weight, for_bias, for_feedback = ctx.needs_input_grad[:4]
    needs = (for_x, for_weight, for_bias and ctx.has_bias)
    found: Gradients = ctx.operation.backward(grad, x, feedback, needs, magnitude)
    of_weight = found[1]
    # ΔB = ΔW: a copy, as clipping or scaling gradients would act on one tensor twice
    return *found, of_weight.clone() if for_feedback and of_weight is not None else None


def _as_autocast(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """An input and a weight as autocast has them."""
    dtype = _autocast_dtype(x)
    return (x, weight) if dtype is None else (x.to(dtype), weight.to(dtype))


def _autocast_dtype(x: Tensor) -> torch.dtype | None:
    """What autocast makes of an input; None where it leaves it as it is."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind) or x.dtype == torch.float64:
        return None
    return torch.get_autocast_dtype(kind)
