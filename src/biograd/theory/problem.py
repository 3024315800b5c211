"""What one trial of the two-layer simulations draws: inputs, targets and weights."""

from dataclasses import dataclass

import numpy as np

from biograd.theory.settings import SimulationSettings


@dataclass(frozen=True)
class Problem:
    """One trial, in double precision.

    Attributes:
        X: inputs, ``(n, d)``.
        y: targets, ``(n,)``.
        W: first layer at the start, ``(p, d)``.
        beta: second layer at the start, ``(p,)``.
        b: feedback weights, ``(p,)``.
    """

    X: np.ndarray
    y: np.ndarray
    W: np.ndarray
    beta: np.ndarray
    b: np.ndarray


def draw(settings: SimulationSettings, trial: int) -> Problem:
    """Draw a trial; everything is standard normal, and a function of the seed and the trial's number.

    The target is y = Xθ for a linear network, and else what a teacher of the same width and activation says.

    Args:
        settings: sizes, activation, seed.
        trial: 0, 1, …
    """
    rng = np.random.default_rng([settings.seed, trial])
    n, d, p = settings.examples, settings.features, settings.width
    X = rng.standard_normal((n, d))
    if settings.normalize:
        X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = X @ rng.standard_normal(d) if settings.activation == "linear" else _teacher(rng, settings, X)
    W, beta, b = rng.standard_normal((p, d)), rng.standard_normal(p), rng.standard_normal(p)
    return Problem(X, y, W, beta, b)


def _teacher(rng: np.random.Generator, settings: SimulationSettings, X: np.ndarray) -> np.ndarray:
    W, beta = rng.standard_normal((settings.width, settings.features)), rng.standard_normal(settings.width)
    return settings.nonlinearity.apply(X @ W.T) @ beta / np.sqrt(settings.width)
