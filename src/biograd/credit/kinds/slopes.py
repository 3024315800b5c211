"""Derivatives of nonlinearities, told by what these gave, in the operators that autograd computes them by.

So it makes no difference to a bit of a gradient who computes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

aten: Any = torch.ops.aten


@dataclass(frozen=True)
class Slope:
    r"""The derivative of a nonlinearity f, unit by unit, as a function of y = f(z): so that z need not be kept.

    Attributes:
        times: of the layer, y and a signal s at y, :math:`s \circ f'(z)`, in a tensor of its own or s itself.
        overwrite: of the layer and z, y in the memory of z, bit for bit what the layer gives.
        is_known: of the layer, whether y tells it.
    """

    times: Callable[[Any, Tensor, Tensor], Tensor]
    overwrite: Callable[[Any, Tensor], Tensor]
    is_known: Callable[[Any], bool] = lambda layer: True


def _tanh(layer: nn.Tanh, y: Tensor, s: Tensor) -> Tensor:
    # s (1 − y²)
    return aten.tanh_backward.default(s, y)


def _sigmoid(layer: nn.Sigmoid, y: Tensor, s: Tensor) -> Tensor:
    # s y (1 − y)
    return aten.sigmoid_backward.default(s, y)


def _relu(layer: nn.ReLU, y: Tensor, s: Tensor) -> Tensor:
    # s where y > 0
    return aten.threshold_backward.default(s, y, 0)


def _leaky_relu(layer: nn.LeakyReLU, y: Tensor, s: Tensor) -> Tensor:
    # s where y > 0, and s times the slope elsewhere
    return aten.leaky_relu_backward.default(s, y, layer.negative_slope, True)


IDENTITY = Slope(lambda layer, y, s: s, lambda layer, z: z)
TANH = Slope(_tanh, lambda layer, z: z.tanh_())
SIGMOID = Slope(_sigmoid, lambda layer, z: z.sigmoid_())
RELU = Slope(_relu, lambda layer, z: z.relu_())
LEAKY_RELU = Slope(
    _leaky_relu,
    lambda layer, z: F.leaky_relu_(z, layer.negative_slope),
    is_known=lambda layer: layer.negative_slope >= 0,
)
