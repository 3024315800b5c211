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
        times: of the layer, y, a signal s at y and a tensor or None, :math:`s \circ f'(z)`, in the memory of that
            tensor, or in a tensor of its own or s itself.
        overwrite: of the layer and z, y in the memory of z, bit for bit what the layer gives.
        is_known: of the layer, whether y tells it.
    """

    times: Callable[[Any, Tensor, Tensor, Tensor | None], Tensor]
    overwrite: Callable[[Any, Tensor], Tensor]
    is_known: Callable[[Any], bool] = lambda layer: True


def _tanh(layer: nn.Tanh, y: Tensor, s: Tensor, into: Tensor | None) -> Tensor:
    # s (1 − y²)
    return _computed(aten.tanh_backward, into, s, y)


def _sigmoid(layer: nn.Sigmoid, y: Tensor, s: Tensor, into: Tensor | None) -> Tensor:
    # s y (1 − y)
    return _computed(aten.sigmoid_backward, into, s, y)


def _relu(layer: nn.ReLU, y: Tensor, s: Tensor, into: Tensor | None) -> Tensor:
    # s where y > 0
    return _computed(aten.threshold_backward, into, s, y, 0)


def _leaky_relu(layer: nn.LeakyReLU, y: Tensor, s: Tensor, into: Tensor | None) -> Tensor:
    # s where y > 0, and s times the slope elsewhere
    return _computed(aten.leaky_relu_backward, into, s, y, layer.negative_slope, True)


def _computed(operator: Any, into: Tensor | None, *arguments: Any) -> Tensor:
    return operator.default(*arguments) if into is None else operator.grad_input(*arguments, grad_input=into)


IDENTITY = Slope(lambda layer, y, s, into: s, lambda layer, z: z)
TANH = Slope(_tanh, lambda layer, z: z.tanh_())
SIGMOID = Slope(_sigmoid, lambda layer, z: z.sigmoid_())
RELU = Slope(_relu, lambda layer, z: z.relu_())
LEAKY_RELU = Slope(
    _leaky_relu,
    lambda layer, z: F.leaky_relu_(z, layer.negative_slope),
    is_known=lambda layer: layer.negative_slope >= 0,
)
