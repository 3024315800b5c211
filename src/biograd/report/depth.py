"""The figure of memory against depth: what a step keeps for its backward, and its peak, a line for each rule."""

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from biograd.records import OWN, REFERENCE, DepthRow
from biograd.report.drawing import WIDTH, Drawing, draw, mark_powers, readable
from biograd.report.palette import BACKPROPAGATION, Drawn, looks
from biograd.report.table import Style

_DASHES = ("-", (0, (4, 2)), (0, (2, 3)), (0, (5, 2, 1, 2)))


def memory_by_depth(rows: Sequence[DepthRow]) -> Drawing:
    """Kept and peak megabytes of a step against the number of hidden layers.

    Args:
        rows: of `biograd.bench.memory_by_depth`, one with figures at least; those without are left out.
    """
    rows = [row for row in rows if row["kept_bytes"] is not None]
    about = rows[0]

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        for rule, style in _styles(rows).items():
            own = [row for row in rows if row["rule"] == rule]
            _line(panels[0], [(row["hidden"], row["kept_bytes"]) for row in own], style)
            _line(panels[1], [(row["hidden"], row["peak_bytes"]) for row in own], style)
        depths = sorted({row["hidden"] for row in rows})
        _name_axes(panels[0], depths, "MB kept for the backward")
        _name_axes(panels[1], depths, "MB at the peak, without gradients")
        panels[1].tick_params(axis="y", labelleft=True)
        handles = panels[0].get_lines()
        figure.legend(
            handles,
            [readable(rule, 40) for rule in _styles(rows)],
            loc="outside upper left",
            ncols=6,
            handlelength=2.8,
        )

    caption = (
        f"Tensors that a step allocates, hidden layers of {about['width']} neurons, batch {about['batch']}: "
        "what autograd holds for the backward, and all that is alive at one time, without the gradients that are left. "
        f"A layer's activations are {4 * about['batch'] * about['width'] / 1e6:.2f} MB."
    )
    return draw("memory-by-depth", "Memory by depth", caption, (WIDTH, 3.0), paint)


def _line(axes: Axes, points: Iterable[tuple[int, int | None]], style: Style) -> None:
    megabytes = sorted((hidden, count / 1e6) for hidden, count in points if count is not None)
    axes.plot(*zip(*megabytes, strict=True), markeredgewidth=0, **style)


def _styles(rows: Sequence[DepthRow]) -> dict[str, Style]:
    """Lines that come later are thinner and broken, so that those they cover show."""
    look = looks(
        Drawn(rule, rule, BACKPROPAGATION if rule == REFERENCE else OWN)
        for rule in {row["rule"] for row in rows}
    )
    return {
        rule: {
            "color": each.color,
            "marker": each.marker,
            "markersize": 4.5 + 0.8 * (len(look) - place - 1),
            "linewidth": 1.4 + 0.8 * (len(look) - place - 1),
            "linestyle": _DASHES[place % len(_DASHES)],
        }
        for place, (rule, each) in enumerate(look.items())
    }


def _name_axes(axes: Axes, depths: Sequence[int], title: str) -> None:
    mark_powers(axes, depths, "hidden layers")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(title)
