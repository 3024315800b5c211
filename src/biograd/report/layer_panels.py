"""Figures of what was measured layer by layer: a quantity over time, a panel for each layer."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullFormatter

from biograd.records import Cell, Run, number
from biograd.report.curves import OVER_SEEDS, Band, Curve, band, curve, plot_band
from biograd.report.drawing import WIDTH, Drawing, draw, legend, legend_height, readable
from biograd.report.palette import QUIET
from biograd.report.table import Style, Table, Task


class Quantity(NamedTuple):
    """What is measured, and how it is shown.

    Attributes:
        name: in the rows.
        title: of the figure.
        caption: how to read it.
        reference: where a dashed line is drawn, None for no line.
        is_angle: in degrees, on a linear scale.
        is_cosine: between -1 and 1, on a linear scale; all other quantities are positive, on a logarithmic one.
        is_of_blocks: whether its layers are names of blocks, not of parameters.
    """

    name: str
    title: str
    caption: str
    reference: float | None = None
    is_angle: bool = False
    is_cosine: bool = False
    is_of_blocks: bool = False


class _Measured(NamedTuple):
    """One quantity in one cell: for each layer, in the order measured, its mean and spread over the runs."""

    cell: Cell
    style: Style
    layers: dict[str, Band]


def over_time(table: Table, quantities: Iterable[Quantity]) -> list[Drawing]:
    """Each quantity that was measured, a figure for each data set and net, a panel for each layer."""
    quantities = list(quantities)
    return [
        _draw(task.name, quantity, measured)
        for task in table.tasks
        for quantity in quantities
        if (measured := _measurements(task, quantity.name))
    ]


def measuring_cost(table: Table) -> str:
    """What all these measurements cost, in a sentence; empty when nothing was measured."""
    rows = chain.from_iterable(run.diagnostics for run in table.runs)
    costs = [number(row, "value") or 0.0 for row in rows if row["quantity"] == "seconds"]
    if not costs:
        return ""
    mean = statistics.fmean(costs)
    return f"{len(costs)} measurements took {mean:.3g} seconds each on average; seconds of training do not count them."


def _measurements(task: Task, quantity: str) -> list[_Measured]:
    """The cells in which the quantity was measured: the runs that are done, or all when none is."""
    found = []
    for cell, style in task.drawn():
        layers: dict[str, list[Curve]] = defaultdict(list)
        for run in cell.with_status("done") or cell.runs:
            for layer, points in _by_layer(run, quantity).items():
                layers[layer].append(points)
        if layers:
            found.append(_Measured(cell, style, {layer: band(curves) for layer, curves in layers.items()}))
    return found


def _by_layer(run: Run, quantity: str) -> dict[str, Curve]:
    rows = defaultdict(list)
    for row in run.diagnostics:
        if row["quantity"] == quantity:
            rows[str(row.get("layer"))].append(row)
    curves = {layer: curve(members, "step", "value") for layer, members in rows.items()}
    return {layer: points for layer, points in curves.items() if points}


def _draw(task: str, quantity: Quantity, measured: list[_Measured]) -> Drawing:
    layers = _in_order(measured)
    cells = [one.cell for one in measured]
    rows = -(-len(layers) // 4)
    columns = -(-len(layers) // rows)

    def paint(figure: Figure) -> None:
        panels = list(chain(*figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)))
        for axes, layer in zip(panels, layers, strict=False):
            _plot_layer(axes, layer, measured)
            axes.set_title(readable(f"block {layer}" if quantity.is_of_blocks else layer, 24), fontsize=7.5)
            if quantity.reference is not None:
                axes.axhline(quantity.reference, color=QUIET, linewidth=0.8, linestyle="--")
        for axes in panels[len(layers) :]:
            axes.set_visible(False)
        for axes in panels[max(0, len(layers) - columns) : len(layers)]:
            axes.tick_params(labelbottom=True)  # also above a place that stays empty
        _scale(panels[0], quantity, [one for cell in measured for one in cell.layers.values()])
        figure.supxlabel("step", fontsize=8.5)
        legend(figure, cells, [one.style for one in measured])

    size = (WIDTH, 0.4 + 1.75 * rows + legend_height(cells))
    caption = f"{quantity.caption} {OVER_SEEDS}"
    return draw(f"{quantity.name}-{task}", f"{quantity.title}: {task}", caption, size, paint)


def _in_order(measured: list[_Measured]) -> list[str]:
    """All layers, in the order of the cells that have the most: a rule may have some of them alone."""
    fullest_first = sorted(measured, key=lambda one: -len(one.layers))
    return list(dict.fromkeys(layer for one in fullest_first for layer in one.layers))


def _plot_layer(axes: Axes, layer: str, measured: list[_Measured]) -> None:
    for one in measured:
        if layer in one.layers:
            plot_band(axes, one.layers[layer], one.style)
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _scale(axes: Axes, quantity: Quantity, bands: list[Band]) -> None:
    """The vertical scale that all panels share."""
    if quantity.is_angle:
        axes.set_ylim(bottom=-3, top=max(96.0, axes.get_ylim()[1]))
        axes.yaxis.set_major_locator(MultipleLocator(30))
        return
    if quantity.is_cosine:
        axes.set_ylim(bottom=min(-0.05, axes.get_ylim()[0]), top=1.05)
        axes.yaxis.set_major_locator(MultipleLocator(0.25))
        return
    low, high = _logarithmic_limits(bands, quantity.reference)
    axes.set_ylim(low, high)  # first: a logarithmic scale of zeros alone would find no limits
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("e-0", "e-")))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _logarithmic_limits(bands: list[Band], reference: float | None) -> tuple[float, float]:
    """Around all means: a band that reaches down to zero must not squeeze the lines together.

    At least one of 1, 2 and 5 times a power of ten lies between.
    """
    means = [mean for one in bands for mean in one.mean]
    upper = [mean + sd for one in bands if one.sd for mean, sd in zip(one.mean, one.sd, strict=True)]
    shown = [value for value in [*means, reference or 0.0] if value > 0] or [1.0]
    return min(shown) / 1.6, max([*shown, *upper]) * 1.6
