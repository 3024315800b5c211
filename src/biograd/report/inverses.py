"""The figure of what inverses cost: step time against width, a line for each strategy."""

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from biograd.records import InverseRow
from biograd.report.drawing import WIDTH, Drawing, draw, mark_powers
from biograd.report.palette import INK, looks_apart
from biograd.report.table import Style

_BACKPROPAGATION = "backpropagation"


def inverse_cost(rows: Sequence[InverseRow]) -> Drawing:
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
            _line(left, [(row["width"], row["seconds"]) for row in own], style, strategy, 1000.0)
            _line(right, [(row["width"], row["ratio"]) for row in own], style)
        _reference(left, right, rows)
        _name_axes((left, right), sorted({row["width"] for row in rows}))
        figure.legend(loc="outside upper left", ncols=4, handlelength=2.2, columnspacing=1.4)

    caption = (
        f"A step of gait-prop on five square layers, batch {about['batch']}, {about['threads']} thread(s), each "
        "strategy beside backpropagation in the same run. Medians; means where inverses are kept, over steps between "
        "which Adam at 1e-4 moved the weights, with every inverse that was made anew."
    )
    return draw("inverse-cost", "Cost of inverses by width", caption, (WIDTH, 3.0), paint)


def _styles(rows: Sequence[InverseRow]) -> dict[str, Style]:
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    return {
        strategy: {"color": look.color, "marker": look.marker}
        for strategy, look in zip(strategies, looks_apart(len(strategies)), strict=True)
    }


def _line(
    axes: Axes,
    points: Iterable[tuple[int, float | None]],
    style: Style,
    label: str = "",
    scale: float = 1.0,
) -> None:
    axes.plot(
        *zip(*sorted((x, scale * y) for x, y in points if y is not None), strict=True),
        linewidth=1.4,
        markersize=4,
        markeredgewidth=0,
        label=label or None,
        **style,
    )


def _reference(left: Axes, right: Axes, rows: Sequence[InverseRow]) -> None:
    """Backpropagation: at each width the median over the strategies' own references."""
    look: Style = {"color": INK, "marker": "o", "linestyle": "--"}
    widths: dict[int, list[float]] = {}
    for row in rows:
        widths.setdefault(row["width"], []).append(row["reference_seconds"] or 0.0)
    medians = [(width, sorted(values)[len(values) // 2]) for width, values in widths.items()]
    _line(left, medians, look, _BACKPROPAGATION, 1000.0)
    right.axhline(1.0, color=INK, linestyle="--", linewidth=1.0)


def _name_axes(both: Sequence[Axes], widths: Sequence[int]) -> None:
    for axes, name in zip(both, ("milliseconds a step", "× backpropagation"), strict=True):
        mark_powers(axes, widths, "width of a layer")
        axes.set_title(name)
    both[1].yaxis.set_minor_locator(NullLocator())
    both[1].yaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50, 100]))
