"""What one trial of the two-layer simulations draws: inputs, targets and weights."""

from dataclasses import dataclass

import numpy as np

from biograd.theory.setting import Setting


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


def draw(setting: Setting, trial: int) -> Problem:
    """Draw a trial; everything is standard normal, and a function of the seed and the trial's number.

    The target is y = Xθ for a linear network, and else what a teacher of the same width and activation says.

    Args:
        setting: sizes, activation, seed.
        trial: 0, 1, …
    """
    rng = np.random.default_rng([setting.seed, trial])
    n, d, p = setting.examples, setting.features, setting.width
    X = rng.standard_normal((n, d))
    if setting.normalize:
        X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = X @ rng.standard_normal(d) if setting.activation == "linear" else _teacher(rng, setting, X)
    W, beta, b = rng.standard_normal((p, d)), rng.standard_normal(p), rng.standard_normal(p)
    return Problem(X, y, W, beta, b)


def _teacher(rng: np.random.Generator, setting: Setting, X: np.ndarray) -> np.ndarray:
    W, beta = rng.standard_normal((setting.width, setting.features)), rng.standard_normal(setting.width)
    return setting.nonlinearity.apply(X @ W.T) @ beta / np.sqrt(setting.width)
