"""What tables and figures say about a cell, in the same words."""

import re
from collections.abc import Callable

from biograd.handed import label_of
from biograd.records import Cell, Spread
from biograd.tasks import Metric


def name_of(cell: Cell) -> str:
    """The rule, and what tells the cell from others of that rule."""
    return f"{label_of(cell.rule)} ({cell.label})" if cell.label else label_of(cell.rule)


def brief_name_of(cell: Cell) -> str:
    """The name where space is short: ``fa (lr=0.1)`` for ``fa (optimizer.lr=0.1)``."""
    return re.sub(r"\b(rule|net|data|optimizer|schedule|penalty)\.", "", name_of(cell))


def measured(spread: Spread, metric: Metric) -> str:
    """A metric over seeds: a share in percent, another number to three digits or so.

    Example:
        >>> from biograd.tasks import metric_of
        >>> measured(Spread(0.45179, 0.0123, 3), metric_of("test_r2"))
        '0.452 ± 0.012'
    """
    if metric.is_share:
        return percent(spread)
    return _spell(spread, lambda value: f"{value:.{_decimals(spread)}f}")


def percent(spread: Spread) -> str:
    """A fraction over seeds in percent; one seed shows no spread and says so.

    Example:
        >>> percent(Spread(0.9771, 0.0005, 3)), percent(Spread(0.9771, None, 1)), percent(Spread(None, None, 0))
        ('97.71 ± 0.05', '97.71 (1 seed)', '—')
    """
    return _spell(spread, lambda value: f"{100 * value:.2f}")


def seconds_text(spread: Spread) -> str:
    """Seconds over seeds, to three or four digits.

    Example:
        >>> seconds_text(Spread(12.347, 1.234, 2)), seconds_text(Spread(0.01234, 0.001, 2))
        ('12.35 ± 1.23', '0.012 ± 0.001')
        >>> seconds_text(Spread(12340.0, None, 1))
        '12340 (1 seed)'
    """
    return _spell(spread, lambda value: f"{value:.{_decimals(spread)}f}")


def state_of(cell: Cell) -> str:
    """Which of this cell's runs have no part in a mean over its seeds, or another than the rest; empty when none.

    Example: ``1 of 3 diverged, 1 of 3 stopped early``.
    """
    total = len(cell.runs)
    notes = [
        (cell.failed, f"{cell.failed} of {total} diverged"),
        (cell.unfinished, f"{cell.unfinished} of {total} unfinished"),
        (cell.stopped, f"{cell.stopped} of {total} stopped early"),
        (cell.repeated, f"{cell.repeated} of {total} with a repeated seed"),
    ]
    return ", ".join(note for count, note in notes if count)


def _decimals(spread: Spread) -> int:
    size = abs(spread.mean or 0.0)
    return 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3


def _spell(spread: Spread, spell: Callable[[float], str]) -> str:
    if spread.mean is None:
        return "—"
    if spread.sd is None:
        return f"{spell(spread.mean)} (1 seed)"
    return f"{spell(spread.mean)} ± {spell(spread.sd)}"
