"""What a command prints: tables for people, one JSON object for programs."""

import json
import math
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from biograd.printable import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console

    from biograd.report.columns import Column
    from biograd.report.table import Table


def print_json(row: Mapping[str, Any]) -> None:
    """Print one object on one line; a number that is none (NaN, infinity) becomes null."""
    print(json.dumps(without_nan(row), allow_nan=False, default=str))


def without_nan(value: Any) -> Any:
    """The same value with null for every NaN and infinity.

    Example:
        >>> without_nan({"loss": float("nan"), "widths": (3, 4)})
        {'loss': None, 'widths': [3, 4]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value


def note(message: str) -> None:
    """A line beside the result, for whoever watches: it goes to standard error."""
    print(one_line(message), file=sys.stderr)


def progress_note(message: str) -> None:
    """A line on what is being done, where standard error is a terminal."""
    if sys.stderr.isatty():
        note(message)


def print_table(table: "Table") -> None:
    """Print the summary of runs, a row a cell; on a pipe or in a file as wide as it has to be."""
    from biograd.report.tables import rich_table

    _console().print(rich_table(table))


def print_columns(columns: "list[Column]", title: str, caption: str | None = None) -> None:
    """Print columns of any kind as `print_table` prints the summary."""
    from biograd.report.tables import terminal_table

    _console().print(terminal_table(columns, title, caption))


def _console() -> "Console":
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def columns(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Rows of text in columns; the last column is wrapped at the width of the terminal.

    Example:
        >>> print(columns([("fa", "random feedback"), ("dfa", "direct")]))
          fa   random feedback
          dfa  direct
    """
    if not rows:
        return ""
    rows = [[printable(cell.replace("\n", " ")) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return "\n".join(_wrapped(row, widths, indent) for row in rows)


def _wrapped(row: Sequence[str], widths: Sequence[int], indent: str) -> str:
    cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
    start = indent + "".join(f"{cell}  " for cell in cells)
    room = max(shutil.get_terminal_size((110, 24)).columns, len(start) + 30)
    lines = textwrap.wrap(row[-1], room, initial_indent=start, subsequent_indent=" " * len(start))
    return "\n".join(lines) if lines else start.rstrip()


def size(count: int) -> str:
    """Bytes as people read them.

    Example:
        >>> [size(count) for count in (0, 999, 12_345_678)]
        ['0 B', '999 B', '12.3 MB']
    """
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
