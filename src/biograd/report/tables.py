"""The summary as rows, and as a table for the terminal, for Markdown and for a spreadsheet."""

import csv as csv_format
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from biograd.handed import label_of
from biograd.printable import printable
from biograd.records import GROWN, Cell, Spread
from biograd.report.cells import brief_name_of, measured, percent, seconds_text, state_of
from biograd.report.columns import MISSING, Column, Entry, in_rows, numbers, text_entry, texts, with_content
from biograd.report.table import Table, Task
from biograd.tasks import METRICS, Metric

if TYPE_CHECKING:
    import rich.table
    from rich.console import Console, ConsoleOptions, ConsoleRenderable


def summary_columns(table: Table) -> list[Column]:
    """The summary, a row for each cell; columns in which no cell has anything are left out.

    ``seeds`` counts those that finished, and says what did not, or was stopped early. Metrics are those of the tasks
    (`biograd.tasks`), shares in percent, mean ± sample standard deviation over seeds; that of the best epoch, chosen on
    the test set, where runs read that after every epoch; balanced accuracy (the mean over both sides) where one class
    is told from the rest. ``growth`` names the block whose activity has grown most while a run lasted, where that is
    more than fiftyfold and was measured; ``Δ bp`` is the difference of the means, of shares in percentage points,
    ``× bp`` the ratio of the mean training seconds.
    Balanced accuracy and differences are those of the part that is shown: test, or validation where no run has read
    that, or it is asked for.
    """
    cells, placed = table.cells, [(task, cell) for task in table.tasks for cell in task.cells]
    tested, validated = (_metric_columns(table, part) for part in ("test", "validation"))
    columns = [
        texts("rule", [text_entry(label_of(cell.rule)) for cell in cells]),
        texts("data", [text_entry(label_of(cell.data)) for cell in cells]),
        texts("net", [text_entry(label_of(cell.net)) for cell in cells]),
        texts("configuration", [text_entry(cell.label) for cell in cells]),
        numbers("seeds", [_seeds(cell) for cell in cells]),
        *tested,
        *_best_epochs(table),
        numbers("balanced accuracy %", [_balanced(*one) for one in placed], greatest_first=True),
        numbers("Δ bp", [_difference(*one) for one in placed], greatest_first=_is_gain(table)),
        *validated,
        numbers("growth", [_growth(cell) for cell in cells]),
        numbers("seconds", [_seconds(cell.seconds) for cell in cells]),
        numbers("× bp", [_ratio(*one) for one in placed]),
    ]
    return with_content(columns)


def rich_table(table: Table, title: str | None = None) -> "ConsoleRenderable":
    """The summary for a terminal, in as many columns as fit; what all cells share is in the title.

    A name holds its configuration. In a narrow terminal the metric of the validation part is left out beside that of
    the test part, and what is still too wide is broken, never cut.

    Args:
        table: what to summarize.
        title: above the table; by default the data set and net, where there is only one pair of them.
    """
    columns, shared = summary_columns(table), [task.name for task in table.tasks]
    columns[0] = texts("rule", [text_entry(brief_name_of(cell)) for cell in table.cells])
    hidden = ["configuration"]
    if len(shared) == 1:
        title = shared[0] if title is None else f"{title}: {shared[0]}"
        hidden += ["data", "net"]
    columns = [column for column in columns if column.title not in hidden]
    return _FirstThatFits(
        terminal_table(columns, title, caption()),
        terminal_table(_without_validation(columns), title, caption()),
    )


class _FirstThatFits:
    """The first of several tables that needs no broken lines, or the last."""

    def __init__(self, *tables: "rich.table.Table") -> None:
        self._tables = tables

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[rich.table.Table]":
        from rich.measure import Measurement

        unlimited = options.update(max_width=10_000)
        needed = [Measurement.get(console, unlimited, table).maximum for table in self._tables]
        fitting = [
            table for table, width in zip(self._tables, needed, strict=True) if width <= options.max_width
        ]
        yield (fitting or self._tables[-1:])[0]


def _without_validation(columns: list[Column]) -> list[Column]:
    if not any(column.title.startswith("test ") for column in columns):
        return columns
    return [column for column in columns if not column.title.startswith("validation ")]


def terminal_table(
    columns: list[Column], title: str | None, caption: str | None = None
) -> "rich.table.Table":
    """Columns as a table for a terminal; what is too wide is broken, never cut."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(
        title=None if title is None else Text(printable(title)),
        caption=None if caption is None else Text(caption),
    )
    table.box, table.pad_edge, table.padding = box.SIMPLE_HEAD, False, (0, 1, 0, 0)
    for column in columns:
        heading = Text(re.sub("^(test|validation|balanced) ", r"\1\n", column.title))
        table.add_column(heading, justify="right" if column.numeric else "left", overflow="fold")
    for row in in_rows(columns):
        table.add_row(*(Text(printable(entry.text)) for entry in row))
    return table


def markdown(table: Table) -> str:
    """The summary as a Markdown table."""
    columns = summary_columns(table)
    lines = [[column.title for column in columns], ["--:" if column.numeric else "---" for column in columns]]
    lines += [[_markdown_text(entry.text) for entry in row] for row in in_rows(columns)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _quantities(table: Table) -> list[str]:
    """Metrics and loss of every part, and seconds; of the validation part, metrics that stand for a whole task."""
    metrics = [metric for kind in table.kinds for metric in METRICS[kind]]
    leading = _leading(table)
    of_part = {
        "test": metrics,
        "validation": [one for one in metrics if one.is_running or one in leading],
        "train": [one for one in metrics if one.is_running],
    }
    named = [f"{part}_{name}" for part, of in of_part.items() for name in [*(one.name for one in of), "loss"]]
    return [*named, "seconds"]


def csv(table: Table) -> str:
    """The summary for a spreadsheet: plain numbers with every digit, accuracies as fractions.

    Columns of the test set are left out where every run was to leave it unread.
    """
    reads_test = any(run.config.get("read_test", True) for run in table.runs)
    quantities = [one for one in _quantities(table) if reads_test or not one.startswith("test_")]
    measures = [f"{quantity}_{measure}" for quantity in quantities for measure in ("mean", "sd", "n")]
    text = io.StringIO()
    writer = csv_format.writer(text, lineterminator="\n")
    counts = ("runs", "diverged", "unfinished", "stopped_early")
    writer.writerow(["rule", "data", "net", "configuration", *counts, *measures])
    for cell in table.cells:
        spreads = [cell.spread(quantity) for quantity in quantities]
        numbers = [value for spread in spreads for value in (spread.mean, spread.sd, spread.n)]
        told = [len(cell.runs), cell.failed, cell.unfinished, cell.stopped]
        writer.writerow([cell.rule, cell.data, cell.net, cell.label, *told, *numbers])
    return text.getvalue()


def caption() -> str:
    """What the summary's numbers are."""
    return (
        "mean ± sample standard deviation over seeds; runs that diverged or are unfinished have no part in it"
    )


def _seeds(cell: Cell) -> Entry:
    """How many seeds the means are over, and which runs have no part in them or were stopped early."""
    count, state = len({run.seed for run in cell.with_status("done")}), state_of(cell)
    return Entry(f"{count} ({state})" if state else str(count), count)


def _metric_columns(table: Table, part: str) -> list[Column]:
    """What is measured of a part of the data; balanced accuracy has a column of its own."""
    metrics = [one for kind in table.kinds for one in METRICS[kind] if one.name != "balanced_accuracy"]
    shown = metrics if part == "test" else [one for one in metrics if one in _leading(table)]
    return [
        numbers(
            f"{part} {metric.title}{' %' if metric.is_share else ''}",
            [_measured(cell.spread(f"{part}_{metric.name}"), metric) for cell in table.cells],
            greatest_first=not metric.smaller_is_better,
        )
        for metric in shown
    ]


def _best_epochs(table: Table) -> list[Column]:
    """What rules are compared by at the epoch that was best on the test set, as some papers report it."""
    return [
        numbers(
            f"test {metric.title}{' %' if metric.is_share else ''}, best epoch",
            [_measured(cell.best_of_epochs(f"test_{metric.name}"), metric) for cell in table.cells],
        )
        for metric in _leading(table)
    ]


def _leading(table: Table) -> list[Metric]:
    """What rules are compared by, for each kind of task."""
    return [METRICS[kind][0] for kind in table.kinds]


def _is_gain(table: Table) -> bool:
    """Whether more than backpropagation is better in every task."""
    return not any(metric.smaller_is_better for metric in _leading(table))


def _measured(spread: Spread, metric: Metric) -> Entry:
    return Entry(measured(spread, metric), spread.mean)


def _balanced(task: Task, cell: Cell) -> Entry:
    """Beside the accuracy shown, where one class is told from the rest and it would hide that it is rare."""
    if cell.one_vs_rest is None:
        return Entry(MISSING, None)
    spread = cell.spread(f"{task.part_shown}_balanced_accuracy")
    return Entry(percent(spread), spread.mean)


def _growth(cell: Cell) -> Entry:
    """The block whose activity has grown most, where that is more than fiftyfold."""
    means = {block: spread.mean for block, spread in cell.growth.items() if spread.mean is not None}
    block, most = max(means.items(), key=lambda one: one[1], default=("", 0.0))
    return Entry(f"{most:,.0f} × in {block}", most) if most > GROWN else Entry(MISSING, None)


def _seconds(spread: Spread) -> Entry:
    return Entry(seconds_text(spread), spread.mean)


def _difference(task: Task, cell: Cell) -> Entry:
    """How much above or below backpropagation, a share in points."""
    more = task.difference(cell)
    if more is None:
        return Entry(MISSING, None)
    return Entry((f"{100 * more:+.2f}" if task.metric.is_share else f"{more:+.3f}").replace("-", "−"), more)


def _ratio(task: Task, cell: Cell) -> Entry:
    """Training seconds as a multiple of backpropagation's."""
    times = task.times_reference(cell)
    return Entry(MISSING, None) if times is None else Entry(f"{times:.2f}", times)


def _markdown_text(text: str) -> str:
    """Text that cannot end its cell or turn into markup."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return printable(" ".join(text.split()))
