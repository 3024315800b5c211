"""The figure of what inverses cost: step time against width, a line for each strategy."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from biograd.report.drawing import WIDTH, Drawing, Style, draw, mark_powers
from biograd.report.palette import INK, looks

_BACKPROPAGATION = "backpropagation"
_LENDERS = ("dfa", "gait-prop", "wm", "fa", "kp", "drtp", "frsf", "brsf", "shallow")
"""Rules whose looks the strategies have, in the order in which they come."""


def inverse_cost(rows: Sequence[Mapping[str, Any]]) -> Drawing:
    """Milliseconds a step, and times backpropagation's, both against the width.

    Args:
        rows: of `biograd.bench.inverse_costs`, at least one.
    """
    about = rows[0]

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        styles = _styles(rows)
        for strategy, style in styles.items():
            own = [row for row in rows if row["strategy"] == strategy]
            _line(left, own, [1000 * row["seconds"] for row in own], style, strategy)
            _line(right, own, [row["ratio"] for row in own], style)
        _reference(left, right, rows)
        _name_axes((left, right), sorted({row["width"] for row in rows}))
        figure.legend(loc="outside upper left", ncols=4, handlelength=2.2, columnspacing=1.4)

    caption = (
        f"A step of gait-prop on five square layers, batch {about['batch']}, {about['threads']} thread(s), each "
        "strategy beside backpropagation in the same run. Medians; means where inverses are kept, over steps between "
        "which Adam at 1e-4 moved the weights, with every inverse that was made anew."
    )
    return draw("inverse-cost", "Cost of inverses by width", caption, (WIDTH, 3.0), paint)


def _styles(rows: Sequence[Mapping[str, Any]]) -> dict[str, Style]:
    look = looks(_LENDERS)
    strategies = dict.fromkeys(row["strategy"] for row in rows)
    lenders = [_LENDERS[index % len(_LENDERS)] for index in range(len(strategies))]
    return {
        strategy: {"color": look[lender].color, "marker": look[lender].marker}
        for strategy, lender in zip(strategies, lenders, strict=True)
    }


def _line(
    axes: Axes, rows: Sequence[Mapping[str, Any]], values: Sequence[float], style: Style, label: str = ""
) -> None:
    order = sorted(range(len(rows)), key=lambda index: rows[index]["width"])
    axes.plot(
        [rows[index]["width"] for index in order],
        [values[index] for index in order],
        linewidth=1.4,
        markersize=4,
        markeredgewidth=0,
        label=label or None,
        **style,
    )


def _reference(left: Axes, right: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Backpropagation: at each width the median over the strategies' own references."""
    look: Style = {"color": INK, "marker": "o", "linestyle": "--"}
    widths: dict[int, list[float]] = {}
    for row in rows:
        widths.setdefault(row["width"], []).append(1000 * row["reference_seconds"])
    found = [{"width": width} for width in widths]
    _line(
        left, found, [sorted(values)[len(values) // 2] for values in widths.values()], look, _BACKPROPAGATION
    )
    right.axhline(1.0, color=INK, linestyle="--", linewidth=1.0)


def _name_axes(both: Sequence[Axes], widths: Sequence[int]) -> None:
    for axes, name in zip(both, ("milliseconds a step", "× backpropagation"), strict=True):
        mark_powers(axes, widths, "width of a layer")
        axes.set_title(name)
    both[1].yaxis.set_minor_locator(NullLocator())
    both[1].yaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50, 100]))
