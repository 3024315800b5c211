"""How much each setting of a search matters, by a random forest that predicts the trials from their settings."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from biograd.records import TrialRow
from biograd.tasks import metric_of

TREES, SHUFFLES = 100, 10
FEWEST = 10
"""Trials below which nothing is said."""


class Importance(NamedTuple):
    """What a setting matters.

    Attributes:
        setting: its dotted name.
        mean: how much R² of the forest falls when the setting's values are shuffled among the trials.
        sd: over the shuffles.
    """

    setting: str
    mean: float
    sd: float


class Importances(NamedTuple):
    """What the settings of a search matter.

    Attributes:
        settings: the most important first; those that all trials share are left out.
        r2: of the forest, each trial predicted by the trees that have not seen it. Near 0 or below, the forest has
            understood nothing, and the importances say nothing.
    """

    settings: list[Importance]
    r2: float


def importances(rows: Sequence[TrialRow]) -> Importances | None:
    """Permutation importance [1] of each setting, of scikit-learn's random forest.

    Trials that diverged count as the worst that did not. Trees see the order of numbers alone, so that it does not
    matter whether a range is logarithmic; other values are numbered in the order of their spelling.

    Args:
        rows: the trials of one search that have ended.

    Returns:
        None for fewer than `FEWEST` trials, or where all came to the same.

    References:
        [1] Breiman (2001). Random Forests. Machine Learning 45.
    """
    values = outcomes(rows)
    names = [name for name in rows[0]["settings"] if _varies(rows, name)] if rows else []
    if len(values) < FEWEST or len(set(values)) < 2 or not names:
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    settings = np.array([_encoded(rows, name) for name in names]).T  # (trials, settings)
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0).fit(settings, values)
    found: Any = permutation_importance(forest, settings, values, n_repeats=SHUFFLES, random_state=0)
    told = map(Importance, names, found["importances_mean"].tolist(), found["importances_std"].tolist())
    return Importances(sorted(told, key=lambda one: -one.mean), float(forest.oob_score_))


def outcomes(rows: Sequence[TrialRow]) -> list[float]:
    """The value of each trial; of one that diverged the worst of the others', none where all did."""
    values = [row["value"] for row in rows if row["value"] is not None]
    metric = metric_of(rows[0]["metric"]) if rows else None
    worst = (max if metric is not None and metric.smaller_is_better else min)(values, default=math.nan)
    return [worst if row["value"] is None else row["value"] for row in rows] if values else []


def _varies(rows: Sequence[TrialRow], name: str) -> bool:
    return len({str(row["settings"][name]) for row in rows}) > 1


def _encoded(rows: Sequence[TrialRow], name: str) -> list[float]:
    values = [row["settings"][name] for row in rows]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return [float(value) for value in values]
    order = sorted({str(value) for value in values})
    return [float(order.index(str(value))) for value in values]
