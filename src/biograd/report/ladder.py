"""The ladder as one figure: what rules reach on one task after the other, and how far below backpropagation."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biograd.handed import label_of
from biograd.records import Cell
from biograd.report.drawing import WIDTH, Drawing, draw, readable
from biograd.report.palette import INK, Look
from biograd.report.table import Table, Task


class Step(NamedTuple):
    """A rung.

    Attributes:
        title: what the figure calls it.
        data: the data set's name.
        net: the net's name.
    """

    title: str
    data: str
    net: str


def ladder(table: Table, steps: Sequence[Step] = ()) -> list[Drawing]:
    """One figure over all tasks whose metric is a share, rules that are on several of them; none for a single task.

    Args:
        table: of the runs.
        steps: the rungs from the bottom up; those without runs are left out. Without any, all tasks from that on which
            backpropagation does best.
    """
    rungs = _rungs(table, steps)
    rules = [rule for rule in table.look if sum(_cell(task, rule) is not None for _, task in rungs) > 1]
    return [_drawing(table, rungs, rules)] if len(rungs) > 1 and rules else []


def _rungs(table: Table, steps: Sequence[Step]) -> list[tuple[str, Task]]:
    tasks = {
        (task.cells[0].data, task.cells[0].net): task
        for task in table.tasks
        if task.metric.is_share and any(cell.spread(task.entry_shown).n for cell in task.cells)
    }
    if steps:  # a run has the whole path of a folder of data, a rung what was written
        named = {(label_of(data), label_of(net)): task for (data, net), task in tasks.items()}
        placed = [(one.title, named.get((label_of(one.data), label_of(one.net)))) for one in steps]
        return [(title, task) for title, task in placed if task is not None]
    ordered = sorted(tasks.values(), key=lambda task: (-_reference(task), task.name))
    return [(f"{label_of(task.cells[0].data)}\n{label_of(task.cells[0].net)}", task) for task in ordered]


def _reference(task: Task) -> float:
    """What backpropagation reaches, 0 where it has not been tried."""
    return 0.0 if task.reference is None else task.reference.spread(task.entry_shown).mean or 0.0


def _cell(task: Task, rule: str) -> Cell | None:
    """The rule's cell on a task; None where it has none or several."""
    found = [cell for cell in task.cells if cell.rule == rule and cell.spread(task.entry_shown).n]
    return found[0] if len(found) == 1 else None


def _drawing(table: Table, rungs: Sequence[tuple[str, Task]], rules: Sequence[str]) -> Drawing:
    def paint(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        for rule in rules:
            _reached(above, rungs, rule, table.look[rule])
            _gap(below, rungs, rule, table.look[rule])
        above.set_ylabel("accuracy (%)" if table.kinds == ["classes"] else "metric (%)")
        below.set_ylabel("points above bp")
        below.axhline(0.0, color=INK, linewidth=0.9, linestyle="--")
        below.set_xticks(range(len(rungs)), [_broken(title) for title, _ in rungs], fontsize=7)
        figure.legend(loc="outside upper left", ncols=7, handlelength=2.2, columnspacing=1.4)

    caption = (
        "Above: mean over the seeds that finished, ± one sample standard deviation; below: the difference of the means "
        f"from backpropagation's. {_parts(task for _, task in rungs)} A rule that is "
        "there in several configurations on a task has no point on it."
    )
    size = (WIDTH, 4.6 + 0.17 * -(-len(rules) // 7))
    return draw("ladder", "Every rule on every task", caption, size, paint)


def _parts(tasks: Iterable[Task]) -> str:
    """Of which part of the data the metrics are."""
    if {task.part_shown for task in tasks} == {"validation"}:
        return "On validation data."
    return "On the test set, or on validation data where no run has read that."


def _reached(axes: Axes, rungs: Sequence[tuple[str, Task]], rule: str, look: Look) -> None:
    points = [
        (place, cell.spread(task.entry_shown))
        for place, (_, task) in enumerate(rungs)
        if (cell := _cell(task, rule)) is not None
    ]
    axes.errorbar(
        [place for place, _ in points],
        [100 * (one.mean or 0.0) for _, one in points],
        yerr=[100 * (one.sd or 0.0) for _, one in points],
        color=look.color,
        marker=look.marker,
        markersize=4.5,
        markeredgewidth=0,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
        label=readable(rule, 40),
    )


def _gap(axes: Axes, rungs: Sequence[tuple[str, Task]], rule: str, look: Look) -> None:
    gaps = [
        (place, 100 * more)
        for place, (_, task) in enumerate(rungs)
        if (cell := _cell(task, rule)) is not None and (more := task.difference(cell)) is not None
    ]
    places, points = [place for place, _ in gaps], [more for _, more in gaps]
    axes.plot(places, points, color=look.color, marker=look.marker, markersize=4.5, linewidth=1.2)


def _broken(title: str) -> str:
    return "\n".join(readable(line, 18) for line in title.split("\n"))
