"""The figure of what rules reach against what they take: seconds of training, and epochs where these differ."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biograd.records import Cell
from biograd.report.drawing import WIDTH, Drawing, draw, legend, legend_height
from biograd.report.figures import scale_of, titled
from biograd.report.table import Style, Table, Task

COSTS = {"seconds": "seconds of training", "epochs": "epochs"}
_WIDE = 8.0  # costs that differ by more than this are drawn on a logarithmic axis


def accuracy_by_cost(table: Table) -> list[Drawing]:
    """Final accuracy (or another metric) against cost, a figure for each data set and net with several cells."""
    found = [(task, _drawn(task)) for task in table.tasks]
    return [_drawing(task, costs) for task, costs in found if costs]


def _drawn(task: Task) -> list[str]:
    """The costs in which cells with a metric differ."""
    cells = [cell for cell in task.cells if cell.spread(task.entry_shown).n]
    means = {cost: {cell.spread(cost).mean for cell in cells} for cost in COSTS}
    return [cost for cost, values in means.items() if len(values) > 1]


def _drawing(task: Task, costs: list[str]) -> Drawing:
    quantity = task.entry_shown

    def paint(figure: Figure) -> None:
        for axes, cost in zip(
            figure.subplots(1, len(costs), squeeze=False, sharey=True)[0], costs, strict=True
        ):
            for cell, style in task.drawn():
                _plot(axes, cell, style, cost, quantity)
            _widen(axes, task, cost)
            axes.set_xlabel(COSTS[cost])
        figure.axes[0].set_ylabel(titled(quantity))
        legend(figure, task.cells, task.styles)

    caption = "Means over the seeds that finished, with ± one sample standard deviation each way."
    size = (WIDTH, 2.9 + legend_height(task.cells))
    title = f"{task.metric.title.capitalize()} against cost: {task.name}"
    return draw(f"by-cost-{task.name}", title, caption, size, paint)


def _plot(axes: Axes, cell: Cell, style: Style, cost: str, quantity: str) -> None:
    reached, took, scale = cell.spread(quantity), cell.spread(cost), scale_of(quantity)
    if reached.mean is None or took.mean is None:
        return
    axes.errorbar(
        took.mean,
        scale * reached.mean,
        xerr=took.sd,
        yerr=None if reached.sd is None else scale * reached.sd,
        fmt=style["marker"],
        color=style["color"],
        markersize=6,
        markeredgewidth=0,
        elinewidth=0.9,
        capsize=2,
    )


def _widen(axes: Axes, task: Task, cost: str) -> None:
    means = [mean for cell in task.cells if (mean := cell.spread(cost).mean)]
    if min(means, default=0.0) > 0 and max(means) > _WIDE * min(means):
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
