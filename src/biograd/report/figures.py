"""The figures of a report: learning curves, accuracy (or what else rules are compared by) and cost, over seeds."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from biograd.records import Cell, Run, Spread, number
from biograd.report.cells import measured, seconds_text, state_of
from biograd.report.curves import OVER_SEEDS, Curve, band, curve, plot_band
from biograd.report.drawing import WIDTH, Drawing, draw, label_of, legend, legend_height
from biograd.report.table import Style, Table, Task
from biograd.tasks import metric_of

_STOPPED = "Dotted thin lines: single runs that diverged (×) or are unfinished (○)."


def learning_curves(table: Table) -> list[Drawing]:
    """Accuracy (or another metric) and training loss by epoch, a figure for each data set and net."""
    drawings = []
    for task in table.tasks:
        name = task.metric.name
        metric = _first_recorded(task, f"validation_{name}", f"train_{name}")
        loss = _first_recorded(task, "train_loss")
        quantities = [quantity for quantity in (metric, loss) if quantity]
        if quantities:
            drawings.append(_learning_curves(task, quantities))
    return drawings


def metric_by_rule(table: Table) -> list[Drawing]:
    """Final accuracy (or another metric) of every cell, a figure a data set and net: mean, spread, and every seed."""
    return [
        _metric(task, task.entry_shown)
        for task in table.tasks
        if any(cell.spread(task.entry_shown).n for cell in task.cells)
    ]


def cost_by_rule(table: Table) -> list[Drawing]:
    """Seconds of training of every cell, a figure for each data set and net."""
    return [_cost(task) for task in table.tasks if any(cell.seconds.n for cell in task.cells)]


def _learning_curves(task: Task, quantities: list[str]) -> Drawing:
    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, len(quantities), squeeze=False)[0]
        for axes, quantity in zip(panels, quantities, strict=True):
            for cell, style in task.drawn():
                _plot_cell(axes, cell, style, quantity)
            axes.set_title(titled(quantity))
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        legend(figure, task.cells, task.styles)

    size = (WIDTH, 2.9 + legend_height(task.cells))
    return draw(
        f"learning-curves-{task.name}",
        f"Learning curves: {task.name}",
        f"{OVER_SEEDS} {_STOPPED}",
        size,
        paint,
    )


def _plot_cell(axes: Axes, cell: Cell, style: Style, quantity: str) -> None:
    scale = scale_of(quantity)
    curves = {id(run): curve(run.metrics, "epoch", quantity, scale) for run in cell.runs}
    done = [curves[id(run)] for run in cell.with_status("done") if curves[id(run)]]
    if done:
        metric = metric_of(quantity)
        limits = (scale * metric.least, scale * metric.most) if metric else (0.0, math.inf)
        plot_band(axes, band(done), style, limits)
    for run in cell.runs:
        if run.status != "done" and curves[id(run)]:
            _plot_stopped(axes, run, curves[id(run)], style["color"])


def _plot_stopped(axes: Axes, run: Run, points: Curve, color: str) -> None:
    """A run that has no part in the mean."""
    x = sorted(points)
    axes.plot(x, [points[one] for one in x], ":", linewidth=0.9, color=color)
    marker = "o" if run.status == "unfinished" else "x"
    axes.plot(x[-1:], [points[x[-1]]], marker, color=color, markersize=4.5, markerfacecolor="none")


def scale_of(quantity: str) -> float:
    """Shares are drawn in percent."""
    metric = metric_of(quantity)
    return 100.0 if metric and metric.is_share else 1.0


def titled(quantity: str) -> str:
    """What a figure calls an entry of a record: ``test accuracy (%)``."""
    metric = metric_of(quantity)
    if metric is None:
        return quantity.replace("_", " ")
    part = quantity.removesuffix(metric.name).replace("_", " ")
    return f"{part}{metric.title}" + (" (%)" if metric.is_share else "")


def _metric(task: Task, quantity: str) -> Drawing:
    scale = scale_of(quantity)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for row, (cell, style) in enumerate(task.drawn()):
            spread, state = cell.spread(quantity), state_of(cell)
            _plot_seeds(axes, row, _values(cell, quantity, scale), style)
            _plot_mean(axes, row, spread, style, scale)
            _annotate(axes, row, measured(spread, task.metric) + (f" ({state})" if state else ""))
        axes.set_xlim(right=min(1.005 * scale * task.metric.most, axes.get_xlim()[1]))
        _list_cells(axes, task.cells, titled(quantity))

    caption = (
        "Large: mean over the seeds that finished, with ± one sample standard deviation; small: each seed."
    )
    title = f"{task.part_shown.capitalize()} {task.metric.title}: {task.name}"
    return draw(f"{quantity}-{task.name}", title, caption, _list_size(task.cells), paint)


def _cost(task: Task) -> Drawing:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for row, (cell, style) in enumerate(task.drawn()):
            axes.barh(row, cell.seconds.mean or 0.0, height=0.55, color=style["color"], alpha=0.35)
            _plot_seeds(axes, row, _values(cell, "seconds", 1.0), style)
            times = task.times_reference(cell)
            text = seconds_text(cell.seconds) + ("" if times is None else f"   {times:.2f} × bp")
            _annotate(axes, row, text)
        axes.set_xlim(left=0)
        _list_cells(axes, task.cells, "seconds of training")

    caption = (
        "Bars: mean over the seeds that finished; dots: each seed. Steps alone, without validation, "
        "measurements and checkpoints, but with whatever else the machine was doing: “biograd bench” "
        "measures rules side by side."
    )
    return draw(
        f"cost-{task.name}", f"Seconds of training: {task.name}", caption, _list_size(task.cells), paint
    )


def _plot_mean(axes: Axes, row: int, spread: Spread, style: Style, scale: float) -> None:
    """The mean as the rule's marker, with its spread where there is one."""
    if spread.mean is not None:
        axes.plot(
            scale * spread.mean, row, style["marker"], color=style["color"], markersize=6, markeredgewidth=0
        )
    if spread.mean is not None and spread.sd is not None:
        axes.errorbar(
            scale * spread.mean, row, xerr=scale * spread.sd, color=style["color"], capsize=3, fmt="none"
        )


def _plot_seeds(axes: Axes, row: int, values: list[float], style: Style) -> None:
    """Each seed as a dot below the mean, a little apart so that equal values do not hide each other."""
    rows = [row + 0.3 + 0.06 * (index % 3 - 1) for index in range(len(values))]
    axes.plot(values, rows, "o", color=style["color"], markersize=2.8, alpha=0.8, markeredgewidth=0)


def _annotate(axes: Axes, row: int, text: str) -> None:
    axes.annotate(text, (1.02, row), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)


def _list_cells(axes: Axes, cells: Sequence[Cell], quantity: str) -> None:
    """Cells from top to bottom."""
    axes.set_yticks(range(len(cells)), [label_of(cell) for cell in cells])
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(quantity)


def _list_size(cells: Sequence[Cell]) -> tuple[float, float]:
    return WIDTH, 0.75 + 0.3 * len(cells)


def _values(cell: Cell, quantity: str, scale: float) -> list[float]:
    values = [number(run.result or {}, quantity) for run in cell.with_status("done")]
    return [scale * value for value in values if value is not None]


def _first_recorded(task: Task, *quantities: str) -> str | None:
    rows = [row for cell in task.cells for run in cell.runs for row in run.metrics]
    return next((one for one in quantities if any(number(row, one) is not None for row in rows)), None)
