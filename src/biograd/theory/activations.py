r"""The nonlinearities of the two-layer simulations, each as :math:`\psi(u) = a + c\,\varphi(k u)`.

Written so, tanh is a logistic function, which PyTorch takes several times as fast as its tanh in single precision, and
no pass over the hidden layer is spent on a, c or k.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biograd.errors import UserMistake


@dataclass(frozen=True)
class Activation:
    """One nonlinearity.

    Attributes:
        name: what settings call it.
        learning_rate: η of the published runs, for the gradient of the mean squared error.
        apply: ψ of an array.
        squash: φ of the first tensor into the second.
        slope: the first tensor times φ' into the third; the second holds φ.
        inner: k.
        outer: c.
        offset: a.
    """

    name: str
    learning_rate: float
    apply: Callable[[np.ndarray], np.ndarray]
    squash: Callable[[Tensor, Tensor], object]
    slope: Callable[[Tensor, Tensor, Tensor], object]
    inner: float = 1.0
    outer: float = 1.0
    offset: float = 0.0

    def derivative(self, u: np.ndarray) -> np.ndarray:
        """ψ' of an array."""
        values = torch.from_numpy(self.inner * u)
        squashed, result = torch.empty_like(values), torch.empty_like(values)
        self.squash(values, squashed)
        self.slope(torch.ones_like(values), squashed, result)
        return self.outer * self.inner * result.numpy()


def find(name: str) -> Activation:
    """The activation of a name.

    Raises:
        UserMistake: there is none.
    """
    if name not in ACTIVATIONS:
        raise UserMistake(f"unknown activation {name!r}: choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _copy(values: Tensor, out: Tensor) -> None:
    out.copy_(values)


def _copy_slope(factor: Tensor, _: Tensor, out: Tensor) -> None:
    out.copy_(factor)


def _relu(values: Tensor, out: Tensor) -> None:
    torch.clamp_min(values, 0, out=out)


def _relu_slope(factor: Tensor, squashed: Tensor, out: Tensor) -> None:
    torch.ops.aten.threshold_backward.grad_input(factor, squashed, 0, grad_input=out)


def _logistic(values: Tensor, out: Tensor) -> None:
    torch.sigmoid(values, out=out)


def _logistic_slope(factor: Tensor, squashed: Tensor, out: Tensor) -> None:
    torch.ops.aten.sigmoid_backward.grad_input(factor, squashed, grad_input=out)


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation("linear", 1e-3, lambda u: u, _copy, _copy_slope),
        Activation("relu", 1e-2, lambda u: np.maximum(u, 0), _relu, _relu_slope),
        Activation("tanh", 1e-1, np.tanh, _logistic, _logistic_slope, inner=2, outer=2, offset=-1),
        # There are no published runs of the sigmoid. Its features are (1 + tanh(u/2)) / 2, half as large as tanh's, and
        # their kernel a quarter: four times the step goes as fast.
        Activation("sigmoid", 4e-1, lambda u: 0.5 + 0.5 * np.tanh(u / 2), _logistic, _logistic_slope),
    )
}
"""By name."""
