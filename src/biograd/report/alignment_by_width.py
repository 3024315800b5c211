"""The figure of alignment against width: published cells of two-layer feedback alignment, and ours, on one axis."""

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from biograd.records.theory import AlignmentRow
from biograd.report.drawing import WIDTH, Drawing, draw
from biograd.report.palette import INK, QUIET, series
from biograd.report.table import Style

_APART = 1.05
"""By what factor of the width published points stand beside ours, so that both are seen."""


def alignment_by_width(rows: Sequence[AlignmentRow]) -> Drawing:
    """cos∠(b, β) at the end against p, a panel for each activation and a colour for each λ.

    Args:
        rows: of `biograd.theory.summary.rows`, one with a mean at least.
    """
    rows = [row for row in rows if row["cosine_mean"] is not None]
    names = list(dict.fromkeys(row["activation"] for row in rows))
    beside = 3 if len(names) >= 3 else 1  # entries of the legend in a line

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            _panel(axes, name, [row for row in rows if row["activation"] == name])
        handles = [
            Line2D([], [], color=INK, marker="o", markersize=4, markeredgewidth=0, linewidth=1.4),
            Line2D([], [], color=INK, marker="s", markersize=4.5, markerfacecolor="none", linestyle="none"),
            Line2D([], [], color=QUIET, linestyle=":", linewidth=1.2),
        ]
        labels = ["ours, mean ± sd", "published, mean ± sd of 50 trials", "n/p, expected without λ if linear"]
        figure.legend(handles, labels, loc="outside upper left", ncols=beside, handlelength=2.2)

    caption = (
        "Cosine of the angle between feedback weights b and second-layer weights β when training stopped, of two-layer "
        f"networks of p hidden neurons, {_trials(rows)} trials a point. Song, Xu and Lafferty 2021."
    )
    size = (max(WIDTH * len(names) / 3, 3.4), 3.2 if beside == 3 else 3.55)
    return draw("alignment-by-width", "Alignment by width", caption, size, paint)


def _panel(axes: Axes, name: str, rows: Sequence[AlignmentRow]) -> None:
    strengths = sorted({row["regularization"] for row in rows})
    for strength, color in zip(strengths, series(len(strengths)), strict=True):
        own = sorted((row for row in rows if row["regularization"] == strength), key=lambda row: row["width"])
        ours = [(row["width"], row["cosine_mean"], row["cosine_sd"]) for row in own]
        _points(axes, ours, {"color": color, "marker": "o", "linewidth": 1.4, "label": f"{strength:g}"})
        said = [(_APART * row["width"], row["published_mean"], row["published_sd"]) for row in own]
        hollow = {"color": color, "marker": "s", "linestyle": "none", "markerfacecolor": "none"}
        _points(axes, said, hollow)
    _expected(axes, [row for row in rows if row["predicted"] is not None])
    _name(axes, name, sorted({row["width"] for row in rows}))


def _points(axes: Axes, points: Iterable[tuple[float, float | None, float | None]], style: Style) -> None:
    """Those that have a mean, at their place on the axis, with its spread."""
    there = [(x, mean, sd or 0.0) for x, mean, sd in points if mean is not None]
    axes.errorbar(
        [x for x, _, _ in there],
        [mean for _, mean, _ in there],
        [sd for _, _, sd in there],
        markersize=4,
        elinewidth=0.9,
        **style,
    )


def _expected(axes: Axes, rows: Sequence[AlignmentRow]) -> None:
    line = sorted((row["width"], row["predicted"] or 0.0) for row in rows)
    if line:
        axes.plot(*zip(*line, strict=True), color=QUIET, linestyle=":", linewidth=1.2)


def _name(axes: Axes, name: str, widths: Sequence[int]) -> None:
    axes.set_xscale("log")
    if len(widths) == 1:  # or the published point beside it would stand as far away as the axis goes
        axes.set_xlim(widths[0] / 1.4, widths[0] * 1.4)
    axes.xaxis.set_major_locator(FixedLocator(list(widths)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_ylim(-0.05, 1.25)  # room for the legend
    axes.yaxis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
    axes.set_xlabel("p, hidden neurons")
    axes.set_title(f"{name}: cos∠(b, β)")
    axes.legend(
        title="λ", fontsize=7, title_fontsize=7, loc="upper left", ncols=4, handlelength=1, columnspacing=1
    )


def _trials(rows: Sequence[AlignmentRow]) -> str:
    counts = sorted({row["trials"] for row in rows})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
