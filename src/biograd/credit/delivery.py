"""Gradients that were computed one by one, added to ``.grad`` in one backward, as autograd would have done."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def delivery(gradients: dict[nn.Parameter, Tensor]) -> Tensor | None:
    """A zero whose backward adds each gradient to its parameter's ``.grad``; None where there is nothing to add.

    One backward from it hands all of them over, so that hooks on parameters (that average gradients over processes,
    say) see each once. Where ``.grad`` is None it takes a gradient's memory over, without a copy.

    Args:
        gradients: by parameter, in its shape; emptied, so that nothing else holds on to them. Parameters that
            need no gradient are left out.

    Example:
        >>> w = nn.Parameter(torch.zeros(2))
        >>> delivery({w: torch.ones(2)}).backward()
        >>> delivery({w: torch.ones(2)}).backward()
        >>> w.grad
        tensor([2., 2.])
    """
    taught = {parameter: gradient for parameter, gradient in gradients.items() if parameter.requires_grad}
    gradients.clear()
    if not taught:
        return None
    with torch.enable_grad():
        return _Delivery.apply(_Parcel(taught), *taught)  # pyright: ignore[reportReturnType]


class _Parcel:
    """Gradients on their way; they are gone from here once they were handed over."""

    def __init__(self, gradients: dict[nn.Parameter, Tensor]) -> None:
        self._gradients = gradients

    def opened(self) -> tuple[Tensor, ...]:
        gradients, self._gradients = self._gradients, {}
        return tuple(gradients.values())


class _Delivery(torch.autograd.Function):
    """A zero whose derivative by each parameter is what lies in the parcel."""

    @staticmethod
    def forward(ctx: Any, parcel: _Parcel, *parameters: Tensor) -> Tensor:  # pyright: ignore
        ctx.parcel = parcel
        return parameters[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        return None, *ctx.parcel.opened()
