"""How the loss falls, step by step, beside what the kernels of the start predict."""

import math
from collections.abc import Sequence

import numpy as np

from biograd.errors import UserMistake
from biograd.records.theory import ConvergenceRow, Prediction, SimulationRecord, TrialOutcome
from biograd.statistics import Spread, spread
from biograd.theory.kernels import Kernels, first_error, kernels, linearised, predicted_slope
from biograd.theory.problem import draw
from biograd.theory.settings import SimulationSettings
from biograd.theory.summary import settings_of
from biograd.theory.two_layer import CURVES

_NO_PREDICTION: Prediction = {
    "linearised": None,
    "predicted_slope": None,
    "slope_ratio": None,
    "slope_ratio_sd": None,
    "recursion_ratio": None,
    "decades_apart": None,
}
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


def rows(record: SimulationRecord) -> list[ConvergenceRow]:
    """A row for each λ of a simulation whose trials all took the same steps; see `records.theory.ConvergenceRow`.

    Raises:
        UserMistake: a trial that did not diverge took other steps than the rest, or lacks a point of a curve.
    """
    settings = settings_of(record)
    _refuse_gaps([outcome for outcome in record["outcomes"] if not outcome["diverged"]])
    return [
        _row(settings, strength, [one for one in record["outcomes"] if one["regularization"] == strength])
        for strength in settings.regularization
    ]


def _refuse_gaps(outcomes: Sequence[TrialOutcome]) -> None:
    for outcome in outcomes:
        curves = outcome["curves"]
        if curves["steps"] != outcomes[0]["curves"]["steps"] or any(None in curves[name] for name in CURVES):
            raise UserMistake(
                f"trial {outcome['trial']} did not diverge, but its curves have gaps or other steps than the rest: "
                "remove the record, and the trials are simulated again"
            )


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


def _row(settings: SimulationSettings, strength: float, outcomes: Sequence[TrialOutcome]) -> ConvergenceRow:
    good = [outcome for outcome in outcomes if not outcome["diverged"]]
    curves = {name: np.array([one["curves"][name] for one in good]) for name in CURVES}
    logs = np.log(np.maximum(curves["loss"], _TINY))
    middle, width = _mean(logs), _sd(logs)
    return {
        "regularization": strength,
        "trials": len(outcomes),
        "diverged": len(outcomes) - len(good),
        "steps": good[0]["curves"]["steps"] if good else [],
        "loss": np.exp(middle).tolist(),
        "loss_low": np.exp(middle - width).tolist(),
        "loss_high": np.exp(middle + width).tolist(),
        "cosine": _mean(curves["cosine"]).tolist(),
        "cosine_sd": _sd(curves["cosine"]).tolist() if len(good) > 1 else None,
        "first_layer": _mean(curves["first_layer"]).tolist(),
        "second_layer": _mean(curves["second_layer"]).tolist(),
        **(_prediction(settings, good, np.exp(logs)) if good and not strength else _NO_PREDICTION),
    }


def _mean(curves: np.ndarray) -> np.ndarray:
    """Of trials ``(trials, points)``, point by point; no points without trials."""
    return curves.mean(0) if len(curves) else np.empty(0)


def _sd(curves: np.ndarray) -> np.ndarray:
    """As `_mean`; zero for one trial."""
    return curves.std(0, ddof=1) if len(curves) > 1 else np.zeros_like(_mean(curves))


def _prediction(
    settings: SimulationSettings, outcomes: Sequence[TrialOutcome], losses: np.ndarray
) -> Prediction:
    """What the kernels say of the trials, beside what these did."""
    steps = outcomes[0]["curves"]["steps"]
    starts = [_start(settings, outcome["trial"]) for outcome in outcomes]
    predicted = [predicted_slope(settings, both) for both, _ in starts]
    recursions = np.maximum([linearised(settings, both, e, steps) for both, e in starts], _TINY)
    measured, recursion = _ratios(steps, losses, predicted), _ratios(steps, recursions, predicted)
    return {
        "linearised": np.exp(np.log(recursions).mean(0)).tolist(),
        "predicted_slope": float(np.mean(predicted)),
        "slope_ratio": measured.mean,
        "slope_ratio_sd": measured.sd,
        "recursion_ratio": recursion.mean,
        "decades_apart": float(np.abs(np.log10(losses) - np.log10(recursions)).max(1).mean()),
    }


def _ratios(steps: Sequence[int], losses: np.ndarray, predicted: Sequence[float]) -> Spread:
    """Late slopes over the predicted, of the trials that have both."""
    pairs = [(late_slope(steps, own), slope) for own, slope in zip(losses, predicted, strict=True)]
    return spread(late / slope for late, slope in pairs if late is not None and slope)


def _start(settings: SimulationSettings, trial: int) -> tuple[Kernels, np.ndarray]:
    problem = draw(settings, trial)
    return kernels(settings, problem), first_error(settings, problem)
