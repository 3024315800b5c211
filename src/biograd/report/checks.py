"""Four checks beside accuracy and angle, a row a cell, each with a flag where it fails: see `biograd.checks`."""

from collections.abc import Callable, Iterable

from biograd.checks import CONSTANT, EXPLODING, UNTAUGHT, VANISHED
from biograd.handed import label_of
from biograd.records import Cell, checks
from biograd.records.checks import Check
from biograd.report.cells import name_of
from biograd.report.columns import MISSING, Column, Entry, with_content
from biograd.report.table import Table, Task
from biograd.statistics import paired_difference
from biograd.tasks import Metric

CAPTION = (
    f"growth: the most that a block's activity is above that of the block below, flagged above {EXPLODING:g} ×. "
    f"Reference: the smallest norm of backpropagation's own gradient of a weight; below {VANISHED:g} angles to it are "
    f"undefined. Stability: the cosine between teaching signals of two batches, or two moments, mean over the run, of "
    f"the hidden block where it is largest; from {CONSTANT:g} on it is a constant drift. Depth utility: the lead over "
    "rules that do not teach hidden layers, over shared seeds, with its 95 % interval"
)


def check_columns(table: Table) -> list[Column]:
    """The checks, a row for each cell; empty where nothing of them was measured in any."""
    placed = [(task, cell) for task in table.tasks for cell in task.cells]
    columns = [
        Column("growth", True, tuple(_growth(cell) for _, cell in placed)),
        Column("reference", True, tuple(_reference(cell) for _, cell in placed)),
        Column(
            "stability over batches",
            True,
            tuple(_stability(checks.batch_stability(cell.runs)) for _, cell in placed),
        ),
        Column(
            "stability over steps",
            True,
            tuple(_stability(checks.step_stability(cell.runs)) for _, cell in placed),
        ),
        *(Column(f"lead over {name}", True, tuple(_lead(*one, name) for one in placed)) for name in UNTAUGHT),
    ]
    found = with_content(columns)
    if not found:
        return []
    names = tuple(Entry(name_of(cell), name_of(cell)) for _, cell in placed)
    tasks = tuple(
        Entry(f"{label_of(task.cells[0].data)} · {label_of(cell.net)}", task.name) for task, cell in placed
    )
    return [Column("rule", False, names), Column("task", False, tasks), *found]


def _growth(cell: Cell) -> Entry:
    return _entry(
        checks.growth(cell.runs), lambda found: f"{found.value:,.3g} × in {found.layer}", "explodes"
    )


def _reference(cell: Cell) -> Entry:
    return _entry(
        checks.reference(cell.runs), lambda found: f"{found.value:.1e} of {found.layer}", "angles undefined"
    )


def _stability(found: Check | None) -> Entry:
    def spell(one: Check) -> str:
        cosine = f"{one.value:.2f}".replace("-", "−")
        return f"{cosine} in {one.layer}"

    return _entry(found, spell, "constant")


def _entry(found: Check | None, spell: Callable[[Check], str], flag: str) -> Entry:
    return (
        Entry(_flagged(spell(found), flag, found.is_flagged), found.value) if found else Entry(MISSING, None)
    )


def _lead(task: Task, cell: Cell, untaught: str) -> Entry:
    """How much better than the one cell of a rule that teaches no hidden layers; nothing for such a rule itself."""
    baselines = [one for one in task.cells if _is_of(one, [untaught])]
    if len(baselines) != 1 or _is_of(cell, UNTAUGHT):
        return Entry(MISSING, None)
    lead = paired_difference(cell.by_seed(task.entry_shown), baselines[0].by_seed(task.entry_shown))
    if lead.value is None:
        return Entry(MISSING, None)
    better = -lead.value if task.metric.smaller_is_better else lead.value
    text = _spell(lead.value, task.metric)
    if lead.low is not None and lead.high is not None:
        text += f" ({_spell(lead.low, task.metric)} to {_spell(lead.high, task.metric)})"
    return Entry(_flagged(text, "no use of depth", better < 0), lead.value)


def _is_of(cell: Cell, rules: Iterable[str]) -> bool:
    return all(run.rule in rules for run in cell.runs)


def _spell(value: float, metric: Metric) -> str:
    return (f"{100 * value:+.2f}" if metric.is_share else f"{value:+.3f}").replace("-", "−")


def _flagged(text: str, flag: str, is_flagged: bool) -> str:
    return f"{text}: {flag}" if is_flagged else text
