"""Curves over seeds: from rows to a mean with its spread, and to a line with its band."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from biograd.records import number
from biograd.statistics import spread

Curve = dict[float, float]
"""x to y, of one run."""

OVER_SEEDS = (
    "Lines: means over the seeds that finished; bands: ± one sample standard deviation (none with one seed)."
)


@dataclass(frozen=True)
class Band:
    """A curve over seeds: ``mean`` at each ``x``, and ``sd`` around it, None with one seed."""

    x: list[float]
    mean: list[float]
    sd: list[float] | None


def curve(rows: Iterable[Mapping[str, Any]], x: str, y: str, scale: float = 1.0) -> Curve:
    """One quantity of a run's rows against another; rows that lack either are left out."""
    points = ((number(row, x), number(row, y)) for row in rows)
    return {at: scale * value for at, value in points if at is not None and value is not None}


def band(curves: Iterable[Curve]) -> Band:
    """Mean and spread of several curves, each x to y, where all of them have a value."""
    curves = list(curves)
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    spreads = [spread(curve[x] for curve in curves) for x in shared]
    means = [one.mean for one in spreads if one.mean is not None]
    sds = [one.sd for one in spreads if one.sd is not None]
    return Band(shared, means, sds if len(curves) > 1 else None)


def plot_band(
    axes: Axes, curve: Band, style: Mapping[str, Any], limits: tuple[float, float] = (-math.inf, math.inf)
) -> None:
    """A line, and its spread as a band, as far as the quantity can go."""
    least, most = limits
    every = max(1, len(curve.x) // 8)
    axes.plot(curve.x, curve.mean, linewidth=1.4, markersize=3.6, markevery=every, markeredgewidth=0, **style)
    if curve.sd is not None:
        low = [max(least, mean - sd) for mean, sd in zip(curve.mean, curve.sd, strict=True)]
        high = [min(most, mean + sd) for mean, sd in zip(curve.mean, curve.sd, strict=True)]
        axes.fill_between(curve.x, low, high, color=style["color"], alpha=0.18, linewidth=0)
