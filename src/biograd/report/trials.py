"""What a search has come to, as a table: how much is done, and the best setting of each rule so far."""

from collections.abc import Sequence

from biograd.handed import label_of
from biograd.records import TrialRow, Trials
from biograd.report.columns import MISSING, Column, Entry
from biograd.tasks import metric_of

CAPTION = "best by the validation part; the test set is read by the runs of what was chosen alone"


def state_columns(searches: Sequence[Trials]) -> list[Column]:
    """A row a rule: trials that are done, those without a value, and the best so far with its settings.

    Where searches are of several tasks, each says its own.
    """
    tasks = [_task(one) for one in searches]
    return [
        Column("rule", False, tuple(Entry(one.search["rule"], one.search["rule"]) for one in searches)),
        *([Column("task", False, tuple(Entry(task, task) for task in tasks))] if len(set(tasks)) > 1 else []),
        Column("trials", True, tuple(Entry(_done(one), len(one.done)) for one in searches)),
        Column("diverged", True, tuple(_count(len(one.done) - len(_valued(one))) for one in searches)),
        Column(
            f"best {_metrics(searches)}", True, tuple(_best(one.best) for one in searches), _is_gain(searches)
        ),
        Column("in trial", True, tuple(_trial(one.best) for one in searches)),
        Column("settings", False, tuple(_settings(one.best) for one in searches)),
    ]


def heading(searches: Sequence[Trials]) -> str:
    """What was searched how, in a line."""
    budgets = {(one.search["trials"], one.search["epochs"], one.search["sampler"]) for one in searches}
    return f"Search: {'; '.join(_budget(*budget) for budget in sorted(budgets))}"


def is_ranked(searches: Sequence[Trials]) -> bool:
    """Whether all points were made before any trial was done, so that every rule had the same search."""
    return all(one.search["sampler"] == "sobol" for one in searches)


def _budget(trials: int, epochs: int, sampler: str) -> str:
    """A budget in words.

    Example:
        >>> _budget(20, 1, "sobol"), _budget(2, 3, "tpe")
        ('20 trials of 1 epoch each, sobol', '2 trials of 3 epochs each, tpe: not for ranking')
    """
    epoch = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    note = "" if sampler == "sobol" else ": not for ranking"
    return f"{trials} trials of {epoch} each, {sampler}{note}"


def _task(search: Trials) -> str:
    """Data and net, as figures call them; nothing before the first trial."""
    return " · ".join(label_of(search.rows[0][key]) for key in ("data", "net")) if search.rows else MISSING


def _valued(search: Trials) -> list[TrialRow]:
    return [row for row in search.done if row["value"] is not None]


def _done(search: Trials) -> str:
    return f"{len(search.done)} of {search.search['trials']}"


def _count(number: int) -> Entry:
    return Entry(str(number), number)


def _metrics(searches: Sequence[Trials]) -> str:
    """The metrics by which the searches choose, as tables call them."""
    names = dict.fromkeys(row["metric"] for one in searches for row in one.rows)
    return " / ".join(_title(name) for name in names) or "value"


def _title(entry: str) -> str:
    metric = metric_of(entry)
    return entry if metric is None else f"validation {metric.title}"


def _best(row: TrialRow | None) -> Entry:
    if row is None or row["value"] is None:
        return Entry(MISSING, None)
    metric = metric_of(row["metric"])
    return Entry(f"{row['value']:.4g}" if metric is None else metric.spelled(row["value"]), row["value"])


def _trial(row: TrialRow | None) -> Entry:
    return Entry(MISSING, None) if row is None else _count(row["trial"])


def _settings(row: TrialRow | None) -> Entry:
    if row is None:
        return Entry(MISSING, None)
    told = ", ".join(f"{name} {value}" for name, value in row["settings"].items())
    return Entry(told, told)


def _is_gain(searches: Sequence[Trials]) -> bool:
    """Whether more is better of every metric that is chosen by."""
    metrics = [metric_of(row["metric"]) for one in searches for row in one.rows]
    return not any(metric is not None and metric.smaller_is_better for metric in metrics)
