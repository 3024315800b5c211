"""The figure of memory against depth: what a step keeps for its backward, and its peak, a line for each rule."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from biograd.report.drawing import WIDTH, Drawing, Style, draw, mark_powers, readable
from biograd.report.palette import looks

_PANELS = {"kept_bytes": "MB kept for the backward", "peak_bytes": "MB at the peak, without gradients"}
_DASHES = ("-", (0, (4, 2)), (0, (2, 3)), (0, (5, 2, 1, 2)))


def memory_by_depth(rows: Sequence[Mapping[str, Any]]) -> Drawing:
    """Kept and peak megabytes of a step against the number of hidden layers.

    Args:
        rows: of `biograd.bench.memory_by_depth`, one with figures at least; those without are left out.
    """
    rows = [row for row in rows if row["kept_bytes"] is not None]
    about = rows[0]

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (column, title) in zip(panels, _PANELS.items(), strict=True):
            for rule, style in _styles(rows).items():
                own = sorted((row["hidden"], row[column] / 1e6) for row in rows if row["rule"] == rule)
                axes.plot(*zip(*own, strict=True), markeredgewidth=0, **style)
            _name_axes(axes, sorted({row["hidden"] for row in rows}), title)
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


def _styles(rows: Sequence[Mapping[str, Any]]) -> dict[str, Style]:
    """Lines that come later are thinner and broken, so that those they cover show."""
    look = looks({row["rule"] for row in rows})
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
