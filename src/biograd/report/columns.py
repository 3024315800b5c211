"""What every table of a report is made of: columns of entries, each a text and the value that it is sorted by."""

from collections.abc import Iterable
from dataclasses import dataclass

MISSING = "—"


@dataclass(frozen=True)
class Entry:
    """What a table shows in one place, and the value that sorting it goes by (None: nothing there)."""

    text: str
    value: float | str | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: at its head.
        numeric: whether it holds numbers, which are set to the right.
        entries: from top to bottom.
        greatest_first: whether the greatest value is the best, which the first click on the title puts on top.
    """

    title: str
    numeric: bool
    entries: tuple[Entry, ...]
    greatest_first: bool = False


def texts(title: str, entries: Iterable[Entry]) -> Column:
    """A column of texts."""
    return Column(title, False, tuple(entries))


def numbers(title: str, entries: Iterable[Entry], *, greatest_first: bool = False) -> Column:
    """A column of numbers."""
    return Column(title, True, tuple(entries), greatest_first)


def text_entry(text: str) -> Entry:
    """A text that is sorted by itself; an empty one is nothing."""
    return Entry(text, text or None)


def with_content(columns: Iterable[Column]) -> list[Column]:
    """The columns in which any row has something."""
    return [column for column in columns if any(entry.value is not None for entry in column.entries)]


def in_rows(columns: list[Column]) -> list[tuple[Entry, ...]]:
    """The entries, row by row."""
    return list(zip(*(column.entries for column in columns), strict=True))
