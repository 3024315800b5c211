"""The figures of what a step costs by width, depth and batch size: a line for each rule."""

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from biograd.records import ScalingRow
from biograd.report.drawing import WIDTH, Drawing, draw, mark_powers, readable
from biograd.report.palette import INK, looks_apart
from biograd.report.table import Style

_NAMES = {"width": "neurons of a hidden layer", "depth": "hidden layers", "batch": "examples in a batch"}
_OTHERS = {"width": ("depth", "batch"), "depth": ("width", "batch"), "batch": ("width", "depth")}
_STATED = {
    "width": "{} neurons a hidden layer",
    "depth": "{} hidden layers",
    "batch": "batch {}",
}


def scaling(rows: Sequence[ScalingRow]) -> list[Drawing]:
    """A figure for each size that varies: times backpropagation's, and times the update's by hand.

    Args:
        rows: of `biograd.bench.scaling`; those without figures are left out.
    """
    rows = [row for row in rows if row["ratio"] is not None]
    styles = _styles(rows)
    return [
        _drawing(along, [row for row in rows if row["along"] == along], styles)
        for along in dict.fromkeys(row["along"] for row in rows)
    ]


def _drawing(along: str, rows: Sequence[ScalingRow], styles: dict[str, Style]) -> Drawing:
    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        for rule, style in styles.items():
            own = [row for row in rows if row["rule"] == rule]
            _line(left, [(row[along], row["ratio"]) for row in own], style, readable(rule, 40))
            _line(right, [(row[along], row.get("of_reference")) for row in own], style)
        sizes = sorted({row[along] for row in rows})
        for axes, name in ((left, "× backpropagation"), (right, "× the same update by hand")):
            _name_axes(axes, sizes, _NAMES[along], name)
        figure.legend(loc="outside upper left", ncols=7, handlelength=2.2, columnspacing=1.4)

    about = rows[0]
    others = " and ".join(_STATED[name].format(about[name]) for name in _OTHERS[along])
    caption = (
        f"Time of a step, {others}, {about['threads']} thread(s), each rule beside backpropagation and beside its own "
        "update in plain tensor operations, in the same run. Medians of ratios; for gait-prop ratios of means, over "
        "steps between which Adam at 1e-4 moved the weights, with every inverse that was made anew."
    )
    return draw(f"scaling-by-{along}", f"Cost of a step by {along}", caption, (WIDTH, 3.0), paint)


def _styles(rows: Sequence[ScalingRow]) -> dict[str, Style]:
    """Backpropagation in ink, the other rules in colours that are told apart."""
    names = list(dict.fromkeys(row["rule"] for row in rows))
    others = [name for name in names if name != "bp"]
    found: dict[str, Style] = {
        name: {"color": look.color, "marker": look.marker}
        for name, look in zip(others, looks_apart(len(others)), strict=True)
    }
    return {name: found.get(name, {"color": INK, "marker": "o"}) for name in names}


def _line(
    axes: Axes, points: Iterable[tuple[int, float | None]], style: Style, label: str | None = None
) -> None:
    found = sorted((size, ratio) for size, ratio in points if ratio is not None)
    if found:
        sizes, ratios = zip(*found, strict=True)
        axes.plot(sizes, ratios, linewidth=1.4, markersize=4, markeredgewidth=0, label=label, **style)


def _name_axes(axes: Axes, sizes: Sequence[int], name: str, title: str) -> None:
    mark_powers(axes, sizes, name)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(FixedLocator([0.5, 0.7, 1, 1.4, 2, 3, 5, 10, 20]))
    axes.axhline(1.0, color=INK, linestyle="--", linewidth=1.0)
    axes.set_title(title)
