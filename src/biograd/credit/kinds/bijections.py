"""Nonlinearities that can be undone unit by unit."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Bijection:
    """An invertible nonlinearity f, unit by unit.

    Attributes:
        forward: f of a drive.
        inverse: f⁻¹ of an activity.
        derivative: f′ where f gave an activity, never 0.
    """

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]


def of_identity(layer: nn.Identity, margin: float) -> Bijection:
    """The identity: its own inverse."""
    del layer, margin
    return Bijection(lambda z: z, lambda y: y, torch.ones_like)


def of_leaky_relu(layer: nn.LeakyReLU, margin: float) -> Bijection | None:
    """Slopes 1 and ``negative_slope``, above 0 or there is no inverse."""
    del margin
    slope = layer.negative_slope
    if slope <= 0:
        return None
    return Bijection(
        lambda z: F.leaky_relu(z, slope),
        lambda y: torch.where(y < 0, y / slope, y),
        lambda y: torch.full_like(y, slope).masked_fill_(y > 0, 1.0),
    )


def of_tanh(layer: nn.Tanh, margin: float) -> Bijection:
    """Tanh, whose targets are cut to ±(1 − margin), since they may leave its range."""
    del layer
    return Bijection(
        torch.tanh,
        lambda y: _within(y, margin).atanh(),
        lambda y: 1 - _within(y, margin).square(),
    )


def _within(y: Tensor, margin: float) -> Tensor:
    """Activities cut to ±(1 − margin), or to the number next to 1 where that is nearer to 0."""
    largest = 1 - max(margin, torch.finfo(y.dtype).eps)
    return y.clamp(-largest, largest)
