"""The figure of a study: what was measured, with its interval, beside what was published."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t

from biograd.records import StudyRow
from biograd.report.drawing import WIDTH, Drawing, draw, readable
from biograd.report.palette import INK, ORANGE
from biograd.report.study import SCALES, trained

LEVEL = 0.95


def published(rows: Sequence[StudyRow]) -> list[Drawing]:
    """A figure for each quantity that was published: a line of dots a group, measured and published.

    Args:
        rows: of a study.
    """
    shown = [row for row in rows if row["published"] is not None and row["mean"] is not None]
    quantities = dict.fromkeys((row["quantity"], row["unit"]) for row in shown)
    return [_drawing([row for row in shown if (row["quantity"], row["unit"]) == one]) for one in quantities]


def half_width(sd: float | None, n: int) -> float | None:
    """Half of the 95 % interval of a mean, by Student's t; None with one seed.

    Example:
        >>> round(half_width(1.0, 3), 3), half_width(None, 1)
        (2.484, None)
    """
    return None if sd is None or n < 2 else float(t.ppf((1 + LEVEL) / 2, n - 1)) * sd / math.sqrt(n)


def _drawing(rows: Sequence[StudyRow]) -> Drawing:
    factor, decimals, sign = SCALES[rows[0]["unit"]]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for place, row in enumerate(rows):
            _dot(axes, place - 0.13, row["mean"], half_width(row["sd"], row["seeds"]), factor, INK, "o")
            _dot(axes, place + 0.13, row["published"], row["published_sd"], factor, ORANGE, "D")
            beside = f"{factor * (row['mean'] or 0.0):.{decimals}f}   {trained(row)}".rstrip()
            axes.annotate(
                beside, (1.02, place), xycoords=("axes fraction", "data"), va="center", annotation_clip=False
            )
        axes.set_yticks(range(len(rows)), [readable(row["group"], 48) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"{rows[0]['quantity']} {sign}".rstrip())

    caption = (
        "Circles: measured, mean with its 95 % interval over seeds (Student's t; none with one seed). Diamonds: "
        "published, with its spread where one was printed. Runs of fewer epochs than the published ones say so."
    )
    quantity = rows[0]["quantity"]
    size = (WIDTH, 0.75 + 0.3 * len(rows))
    return draw(f"published-{quantity}", f"Measured and published: {quantity}", caption, size, paint)


def _dot(
    axes: Axes,
    place: float,
    value: float | None,
    spread: float | None,
    factor: float,
    color: str,
    marker: str,
) -> None:
    if value is None:
        return
    axes.plot(factor * value, place, marker, color=color, markersize=5, markeredgewidth=0)
    if spread is not None:
        axes.errorbar(factor * value, place, xerr=factor * spread, color=color, capsize=2.5, fmt="none")
