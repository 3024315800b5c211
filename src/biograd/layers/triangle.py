"""The Triangle activation: how far a neuron is above the mean of those it competes with."""

import torch
from torch import Tensor, nn

from biograd.errors import UserMistake, brief


class Triangle(nn.Module):
    r"""Rectified distance from the mean over neurons, to a power.

    .. math:: h_k = \max\Big(0,\; u_k - \frac1K \sum_{l=1}^K u_l\Big)^p

    The mean is over the K channels at each position; it has no parameters. Coates, Lee & Ng 2011 introduced it for
    distances to k-means centres; Journé, Garcia Rodriguez, Guo & Moraitis 2023 added the power. Below p = 1 the
    derivative grows without bound towards the mean.

    Args:
        power: p, > 0.

    Raises:
        UserMistake: a power that is not above 0.

    Example:
        >>> Triangle(power=2)(torch.tensor([[1.0, 2.0, 6.0]]))
        tensor([[0., 0., 9.]])
    """

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        if not power > 0:
            raise UserMistake(f"Triangle: power must be above 0, got {brief(power)}")
        self.power = power

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(batch, channels, …)`` to the same shape."""
        above = torch.relu(input - input.mean(1, keepdim=True))
        return above if self.power == 1 else above**self.power

    def extra_repr(self) -> str:
        """The power."""
        return f"power={self.power:g}"
