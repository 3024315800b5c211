"""Gradients that were computed one by one, added to ``.grad`` in one backward, as autograd would have done."""

from collections.abc import Sequence
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


def collect(
    gradients: dict[nn.Parameter, Tensor], parameters: Sequence[nn.Parameter], found: Sequence[Tensor | None]
) -> None:
    """Add what was found to the gradients of parameters, which several blocks may share; None adds nothing."""
    for parameter, gradient in zip(parameters, found, strict=True):
        if gradient is not None:
            before = gradients.get(parameter)
            gradients[parameter] = gradient if before is None else before + gradient


def deliver(gradients: dict[nn.Parameter, Tensor], *roots: tuple[Tensor | None, Tensor | None]) -> None:
    """One backward that hands over gradients and begins at other roots too.

    Args:
        gradients: see `delivery`.
        *roots: a tensor and the derivative it is told, None for a scalar's 1; left out where the tensor is None or
            has no graph.
    """
    told = [(delivery(gradients), None), *roots]
    told = [(root, signal) for root, signal in told if root is not None and root.requires_grad]
    if told:
        torch.autograd.backward([root for root, _ in told], [signal for _, signal in told])


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
