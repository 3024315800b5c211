"""Gradients that were computed already on their way to ``.grad``: at once, or in a backward where somebody listens."""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Gradients = dict[int, tuple[Tensor, Tensor]]
"""A parameter and its gradient by the ``id`` of the parameter."""

_HOLDERS = 3
"""References to a gradient that `_is_free` counts where nobody holds it beside those who hand it over."""


def hand_over(gradients: Gradients) -> Tensor | None:
    """Give parameters their gradients, with which the mapping is empty.

    One that a backward would do no more with than make it the parameter's ``.grad``, in the memory that it has, becomes
    that at once.

    Returns:
        A zero whose backward adds each of the others to its parameter's ``.grad``; None where there are none.
    """
    waiting = gradients if _backward_does_more() else _others(gradients)
    if not waiting:
        return None
    parameters = [parameter for parameter, _ in waiting.values()]
    with torch.enable_grad():
        return _HandOver.apply(_Parcel(waiting), *parameters)  # pyright: ignore[reportReturnType]


def _backward_does_more() -> bool:
    """Whether autograd is compiled, transformed or watched, so that it has a say in what becomes of gradients."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch.is_anomaly_enabled()
    )


def _others(gradients: Gradients) -> Gradients:
    """Those that did not become the ``.grad`` of their parameters at once."""
    waiting: Gradients = {}
    for key in [*gradients]:
        parameter, gradient = gradients.pop(key)
        if _listens(parameter) or not _is_free(gradient, parameter):
            waiting[key] = parameter, gradient
        else:
            parameter.grad = gradient
    return waiting


def _listens(parameter: Any) -> bool:
    """Whether somebody waits for a parameter's gradient, or another lies there already.

    A node of autograd's, which may have hooks and which graphs lead to, holds its parameter as long as it lives.
    """
    return bool(
        parameter._use_count() > 1
        or type(parameter) is not nn.Parameter
        or parameter.grad is not None
        or parameter._backward_hooks
        or parameter._post_accumulate_grad_hooks
    )


def _is_free(gradient: Any, parameter: Tensor) -> bool:
    """Whether a gradient is nobody else's, and of the type and layout that a backward would give it."""
    return (
        gradient._use_count() == 1
        and type(gradient) is Tensor
        and gradient.layout is parameter.layout is torch.strided
        and gradient.shape == parameter.shape
        and gradient.stride() == parameter.stride()
        and gradient.dtype is parameter.dtype
        and not gradient.requires_grad
        and sys.getrefcount(gradient) <= _HOLDERS
    )


class _Parcel:
    """Gradients on their way; it is empty once they were handed over."""

    def __init__(self, gradients: Gradients) -> None:
        self._gradients = [gradient for _, gradient in gradients.values()]
        gradients.clear()

    def opened(self) -> tuple[Tensor, ...]:
        gradients, self._gradients = self._gradients, []
        return tuple(gradients)


class _HandOver(torch.autograd.Function):
    """A zero whose derivative by each parameter is what lies in the parcel."""

    @staticmethod
    def forward(ctx: Any, parcel: _Parcel, *parameters: Tensor) -> Tensor:  # pyright: ignore
        ctx.parcel = parcel
        return parameters[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        return None, *ctx.parcel.opened()
