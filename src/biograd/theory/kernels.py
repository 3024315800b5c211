r"""The kernels that the error of a wide two-layer network moves by, and the rate they predict.

.. math::

    G_{ij} = \frac1p \sum_r \psi(w_r \cdot x_i)\, \psi(w_r \cdot x_j), \qquad
    H_{ij} = \frac{x_i \cdot x_j}{p} \sum_r \beta_r b_r\, \psi'(w_r \cdot x_i)\, \psi'(w_r \cdot x_j)

To first order in η, and without regularisation, :math:`e(t+1) = (I - \eta(G + H))\, e(t)`: a step of β moves f by G,
one of W by H. Backpropagation has :math:`\beta_r^2` for :math:`\beta_r b_r`. Where b is random H vanishes as
:math:`1/\sqrt p`, so that G drives the error and the loss falls as :math:`e^{-2\eta\lambda_{\min}(G) t}` in the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biograd.theory.problem import Problem
from biograd.theory.settings import SimulationSettings


@dataclass(frozen=True)
class Kernels:
    """Both kernels at the start of a trial.

    Attributes:
        G: of the second layer, ``(n, n)``.
        H: of the first, ``(n, n)``.
    """

    G: np.ndarray
    H: np.ndarray

    @property
    def slowest(self) -> float:
        """λ_min(G); 0 where it is no more than rounding, as with fewer neurons than examples."""
        values = np.linalg.eigvalsh(self.G)
        return float(values[0]) if values[0] > len(values) * np.finfo(float).eps * values[-1] else 0.0

    @property
    def first_layer_norm(self) -> float:
        """‖H‖, the largest absolute eigenvalue."""
        return float(np.linalg.norm(self.H, 2))


def kernels(settings: SimulationSettings, problem: Problem) -> Kernels:
    """G(0) and H(0) of a trial.

    Args:
        settings: activation and method.
        problem: the trial.
    """
    U = problem.X @ problem.W.T
    features, slopes = settings.nonlinearity.apply(U), settings.nonlinearity.derivative(U)
    weights = problem.beta * (problem.b if settings.method == "fa" else problem.beta)
    p = len(problem.beta)
    return Kernels(features @ features.T / p, (problem.X @ problem.X.T) * (slopes * weights @ slopes.T) / p)


def first_error(settings: SimulationSettings, problem: Problem) -> np.ndarray:
    """The error e of a trial before its first step, ``(n,)``."""
    features = settings.nonlinearity.apply(problem.X @ problem.W.T)
    return features @ problem.beta / np.sqrt(len(problem.beta)) - problem.y


def linearised(
    settings: SimulationSettings, both: Kernels, e: np.ndarray, steps: Sequence[int]
) -> np.ndarray:
    """The loss by the recursion e ← (I - η(G + H)) e, in the settings' units, ``(len(steps),)``.

    Args:
        settings: η and units; λ has no part in it.
        both: G(0) and H(0).
        e: the error at the start.
        steps: after how many steps.
    """
    values, vectors = np.linalg.eigh(both.G + both.H)
    factors = 1 - settings.gradient_rate * values
    errors = factors ** np.asarray(steps)[:, None] * (vectors.T @ e)
    return np.array([settings.loss(mean_square) for mean_square in np.square(errors).mean(1).tolist()])


def predicted_slope(settings: SimulationSettings, both: Kernels) -> float:
    """By how much the logarithm of the loss falls in a step, in the end: 2ηλ_min(G), η in the paper's units."""
    return 2 * settings.gradient_rate * both.slowest
