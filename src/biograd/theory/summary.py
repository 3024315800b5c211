"""From the records of simulations to rows: mean and spread over trials, beside the published numbers."""

import dataclasses
import statistics
from collections.abc import Sequence

from biograd.records.theory import AlignmentRow, SimulationRecord, TrialOutcome
from biograd.statistics import spread
from biograd.theory import published
from biograd.theory.settings import SimulationSettings


def settings_of(record: SimulationRecord) -> SimulationSettings:
    """How a record's trials were simulated."""
    given = {entry.name: record["config"][entry.name] for entry in dataclasses.fields(SimulationSettings)}
    return SimulationSettings(**{**given, "regularization": tuple(given["regularization"])})


def rows(record: SimulationRecord) -> list[AlignmentRow]:
    """A row for each λ of a simulation; see `biograd.records.theory.AlignmentRow`."""
    settings = settings_of(record)
    return [
        _row(settings, strength, [one for one in record["outcomes"] if one["regularization"] == strength])
        for strength in settings.regularization
    ]


def _row(settings: SimulationSettings, strength: float, outcomes: Sequence[TrialOutcome]) -> AlignmentRow:
    good = [outcome for outcome in outcomes if not outcome["diverged"]]
    cosine = spread(value for one in good if (value := one["cosine"]) is not None)
    loss = spread(value for one in good if (value := one["loss"]) is not None)
    said = published.cosine(settings, strength)
    is_vanishing = settings.activation == "linear" and settings.method == "fa" and not strength
    return {
        "activation": settings.activation,
        "width": settings.width,
        "regularization": strength,
        "method": settings.method,
        "units": settings.units,
        "trials": len(outcomes),
        "cosine_mean": cosine.mean,
        "cosine_sd": cosine.sd,
        "loss_mean": loss.mean,
        "loss_sd": loss.sd,
        "steps": statistics.fmean(outcome["steps"] for outcome in good) if good else None,
        "capped": sum(outcome["capped"] for outcome in outcomes),
        "diverged": len(outcomes) - len(good),
        "published_mean": said and said[0],
        "published_sd": said and said[1],
        "published_loss": published.early_loss(settings, strength),
        "deviations": None if said is None or cosine.mean is None else (cosine.mean - said[0]) / said[1],
        "predicted": settings.examples / settings.width if is_vanishing else None,
        "standard_error": cosine.sd / cosine.n**0.5 if is_vanishing and cosine.sd is not None else None,
    }
