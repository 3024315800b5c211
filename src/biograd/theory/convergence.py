"""How the loss falls, step by step, beside what the kernels of the start predict."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from biograd.errors import UserMistake
from biograd.records.summary import Spread, spread
from biograd.theory.kernels import Kernels, first_error, kernels, linearised, predicted_slope
from biograd.theory.problem import draw
from biograd.theory.settings import SimulationSettings
from biograd.theory.simulations import Record
from biograd.theory.summary import settings_of

Row = dict[str, Any]

_PREDICTION = (
    *("linearised", "predicted_slope", "slope_ratio", "slope_ratio_sd", "recursion_ratio"),
    "decades_apart",
)
_TINY = np.finfo(float).tiny

DECADES = 12
"""By how many powers of ten the loss is predicted to fall in the steps that are taken when nobody says how many."""

LATE = 0.25
"""The part of the steps, at the end, in which the late slope is taken."""


def steps_needed(settings: SimulationSettings, trials: int) -> int:
    """How many steps the slowest trial needs for its loss to fall by `DECADES`, by the rate that G(0) predicts.

    Raises:
        UserMistake: it predicts none, since G is singular.
    """
    slowest = min(
        predicted_slope(settings, kernels(settings, draw(settings, trial))) for trial in range(trials)
    )
    if not slowest:
        raise UserMistake(
            f"with width {settings.width} and {settings.examples} examples the kernel G is singular and predicts no "
            "rate: say how many steps to take"
        )
    return math.ceil(DECADES * math.log(10) / slowest)


def rows(record: Record) -> list[Row]:
    """A row for each λ of a simulation whose trials all took the same steps.

    ``regularization trials diverged``; ``steps``, and at these over the trials that did not diverge ``loss`` (geometric
    mean) ``loss_low loss_high`` (one standard deviation of its logarithm) ``cosine cosine_sd first_layer second_layer``
    (means); where λ is 0 ``linearised`` (geometric mean of the recursion's loss), ``predicted_slope`` (mean of
    2ηλ_min(G(0))), ``slope_ratio slope_ratio_sd`` (the late slope of log loss over the predicted, mean and spread over
    trials; None with no two points so late), ``recursion_ratio`` (the recursion's own) and ``decades_apart`` (the
    largest distance of a trial's loss from its recursion in powers of ten, mean over trials); None where λ is not 0.
    """
    settings = settings_of(record)
    return [
        _row(settings, strength, [one for one in record["outcomes"] if one["regularization"] == strength])
        for strength in settings.regularization
    ]


def late_slope(steps: Sequence[int], losses: np.ndarray) -> float | None:
    """By how much the logarithm of the loss falls in a step, by least squares over the last part of the steps.

    None where this part has fewer than two points.

    Example:
        >>> round(late_slope([0, 60, 80, 90, 100], np.exp(-0.5 * np.array([0, 60, 80, 90, 100]))), 6)
        0.5
    """
    at = np.asarray(steps)
    is_late = at >= (1 - LATE) * at[-1]
    return -float(np.polyfit(at[is_late], np.log(losses[is_late]), 1)[0]) if is_late.sum() > 1 else None


def _row(settings: SimulationSettings, strength: float, outcomes: Sequence[Row]) -> Row:
    good = [outcome for outcome in outcomes if not outcome["diverged"]]
    row = {"regularization": strength, "trials": len(outcomes), "diverged": len(outcomes) - len(good)}
    if not good:
        return {**row, "steps": []}
    curves = {name: np.array([one["curves"][name] for one in good]) for name in good[0]["curves"]}
    logs = np.log(np.maximum(curves["loss"], _TINY))
    middle, width = logs.mean(0), logs.std(0, ddof=1) if len(good) > 1 else np.zeros(logs.shape[1])
    return {
        **row,
        "steps": good[0]["curves"]["steps"],
        "loss": np.exp(middle).tolist(),
        "loss_low": np.exp(middle - width).tolist(),
        "loss_high": np.exp(middle + width).tolist(),
        "cosine": curves["cosine"].mean(0).tolist(),
        "cosine_sd": curves["cosine"].std(0, ddof=1).tolist() if len(good) > 1 else None,
        "first_layer": curves["first_layer"].mean(0).tolist(),
        "second_layer": curves["second_layer"].mean(0).tolist(),
        **_prediction(settings, strength, good, np.exp(logs)),
    }


def _prediction(
    settings: SimulationSettings, strength: float, outcomes: Sequence[Row], losses: np.ndarray
) -> Row:
    """What the kernels say of the trials, beside what these did."""
    if strength:
        return dict.fromkeys(_PREDICTION)
    steps = outcomes[0]["curves"]["steps"]
    starts = [_start(settings, outcome["trial"]) for outcome in outcomes]
    predicted = [predicted_slope(settings, both) for both, _ in starts]
    recursions = np.maximum([linearised(settings, both, e, steps) for both, e in starts], _TINY)
    measured, recursion = _ratios(steps, losses, predicted), _ratios(steps, recursions, predicted)
    values = (
        np.exp(np.log(recursions).mean(0)).tolist(),
        float(np.mean(predicted)),
        measured.mean,
        measured.sd,
        recursion.mean,
        float(np.abs(np.log10(losses) - np.log10(recursions)).max(1).mean()),
    )
    return dict(zip(_PREDICTION, values, strict=True))


def _ratios(steps: Sequence[int], losses: np.ndarray, predicted: Sequence[float]) -> Spread:
    """Late slopes over the predicted, of the trials that have both."""
    pairs = [(late_slope(steps, own), slope) for own, slope in zip(losses, predicted, strict=True)]
    return spread(late / slope for late, slope in pairs if late is not None and slope)


def _start(settings: SimulationSettings, trial: int) -> tuple[Kernels, np.ndarray]:
    problem = draw(settings, trial)
    return kernels(settings, problem), first_error(settings, problem)
