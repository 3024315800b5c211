"""The kernels of the start against the width: H vanishes, G does not."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from biograd.errors import UserMistake
from biograd.records.theory import KernelMeasurement, KernelRow
from biograd.statistics import spread
from biograd.theory.kernels import kernels
from biograd.theory.problem import draw
from biograd.theory.settings import SimulationSettings


def kernel_norms(
    settings: SimulationSettings,
    widths: Sequence[int],
    trials: int,
    *,
    tell: Callable[[int], object] = lambda done: None,
) -> KernelMeasurement:
    """‖H(0)‖ and λ_min(G(0)) of each width, and the exponent by which the former falls.

    Args:
        settings: activation, method, sizes and seed; its width has no part in it.
        widths: every p, two at least.
        trials: draws of each width, ≥ 1.
        tell: is called with the number of draws done.

    Raises:
        UserMistake: fewer than two widths, or ‖H(0)‖ is 0 at one of them.
    """
    if len(widths) < 2:
        raise UserMistake(f"widths must be two at least, for there to be an exponent, got {list(widths)}")
    measured = np.empty((2, trials, len(widths)))
    for place, width in enumerate(widths):
        at = replace(settings, width=width)
        for trial in range(trials):
            both = kernels(at, draw(at, trial))
            measured[:, trial, place] = both.first_layer_norm, both.slowest
            tell(place * trials + trial + 1)
    if not measured[0].all():
        raise UserMistake(
            "‖H(0)‖ is 0 in a draw, so that it has no exponent: take larger widths, or more examples"
        )
    slopes = spread(_exponent(widths, norms) for norms in measured[0])
    return {
        "rows": [_row(width, measured[:, :, place]) for place, width in enumerate(widths)],
        "exponent": _exponent(widths, measured[0].mean(0)),
        "standard_error": None if slopes.sd is None else slopes.sd / trials**0.5,
    }


def _row(width: int, measured: np.ndarray) -> KernelRow:
    first, slowest = measured.tolist()
    return {
        "width": width,
        "first_layer_mean": statistics.fmean(first),
        "first_layer_sd": spread(first).sd,
        "slowest_mean": statistics.fmean(slowest),
        "slowest_sd": spread(slowest).sd,
    }


def _exponent(widths: Sequence[int], norms: np.ndarray) -> float:
    """The slope of logarithms.

    Example:
        >>> round(_exponent([1, 4, 16], np.array([8.0, 4.0, 2.0])), 6)
        -0.5
    """
    return float(np.polyfit(np.log(widths), np.log(norms), 1)[0])
