"""The published simulations of Song, Xu & Lafferty 2021 (arXiv:2106.06044), as data."""

from biograd.theory.settings import SimulationSettings

WIDTHS = (200, 400, 800, 1600, 3200, 6400, 12800)
"""p of the published cells."""

COSINES: dict[str, dict[float, tuple[tuple[float, float], ...]]] = {
    "linear": {
        0.0: (
            (0.206, 0.067),
            (0.119, 0.047),
            (0.059, 0.032),
            (0.031, 0.025),
            (0.012, 0.018),
            (0.009, 0.012),
            (0.004, 0.009),
        ),
        0.2: (
            (0.79, 0.026),
            (0.774, 0.029),
            (0.757, 0.031),
            (0.738, 0.032),
            (0.713, 0.039),
            (0.657, 0.085),
            (0.551, 0.132),
        ),
        0.3: (
            (0.867, 0.019),
            (0.861, 0.013),
            (0.854, 0.02),
            (0.836, 0.022),
            (0.818, 0.021),
            (0.799, 0.03),
            (0.77, 0.048),
        ),
        0.5: (
            (0.92, 0.014),
            (0.92, 0.012),
            (0.913, 0.008),
            (0.904, 0.011),
            (0.895, 0.011),
            (0.882, 0.014),
            (0.866, 0.017),
        ),
    },
    "relu": {
        0.0: (
            (0.22, 0.051),
            (0.136, 0.043),
            (0.073, 0.027),
            (0.043, 0.022),
            (0.022, 0.019),
            (0.009, 0.013),
            (0.006, 0.008),
        ),
        0.02: (
            (0.401, 0.057),
            (0.381, 0.045),
            (0.411, 0.041),
            (0.443, 0.039),
            (0.493, 0.027),
            (0.507, 0.034),
            (0.513, 0.031),
        ),
        0.05: (
            (0.682, 0.047),
            (0.671, 0.043),
            (0.687, 0.034),
            (0.71, 0.028),
            (0.719, 0.026),
            (0.719, 0.022),
            (0.721, 0.028),
        ),
        0.2: (
            (0.858, 0.061),
            (0.857, 0.048),
            (0.86, 0.044),
            (0.852, 0.047),
            (0.846, 0.04),
            (0.84, 0.041),
            (0.846, 0.042),
        ),
    },
    "tanh": {
        0.0: (
            (0.26, 0.055),
            (0.173, 0.041),
            (0.112, 0.034),
            (0.076, 0.022),
            (0.05, 0.016),
            (0.03, 0.01),
            (0.02, 0.008),
        ),
        0.001: (
            (0.328, 0.07),
            (0.259, 0.043),
            (0.228, 0.033),
            (0.217, 0.03),
            (0.258, 0.027),
            (0.322, 0.022),
            (0.396, 0.023),
        ),
        0.002: (
            (0.371, 0.048),
            (0.371, 0.041),
            (0.392, 0.035),
            (0.434, 0.029),
            (0.467, 0.024),
            (0.475, 0.021),
            (0.488, 0.02),
        ),
        0.005: (
            (0.517, 0.046),
            (0.521, 0.035),
            (0.523, 0.025),
            (0.539, 0.022),
            (0.533, 0.019),
            (0.531, 0.018),
            (0.532, 0.018),
        ),
    },
}
"""Final cos∠(b, β), mean and standard deviation over 50 trials, by activation and λ, at each of `WIDTHS`."""

EARLY_STEPS, EARLY_WIDTH = 5000, 3200

EARLY_LOSSES = {
    "linear": {0.0: 1.7e-5, 0.2: 0.21, 0.3: 0.37, 0.5: 0.84},
    "relu": {0.0: 3e-11, 0.02: 0.0043, 0.05: 0.019, 0.2: 0.082},
    "tanh": {0.0: 7e-9, 0.001: 4.9e-4, 0.002: 1.7e-3, 0.005: 7.5e-3},
}
"""Mean squared error after `EARLY_STEPS` at p = `EARLY_WIDTH`."""


def regularizations(activation: str) -> tuple[float, ...]:
    """The λ of the published cells of an activation; 0 where there are none."""
    return tuple(COSINES.get(activation, {0.0: ()}))


def cosine(settings: SimulationSettings, regularization: float) -> tuple[float, float] | None:
    """The published mean and standard deviation of a cell, None where it was not published."""
    cells = COSINES.get(settings.activation, {}).get(regularization)
    if cells is None or settings.width not in WIDTHS or not settings.is_published(steps=None):
        return None
    return cells[WIDTHS.index(settings.width)]


def early_loss(settings: SimulationSettings, regularization: float) -> float | None:
    """The published mean squared error after `EARLY_STEPS`, None where there was no such run."""
    if settings.width != EARLY_WIDTH or not settings.is_published(steps=EARLY_STEPS):
        return None
    return EARLY_LOSSES.get(settings.activation, {}).get(regularization)
