"""A progress bar on standard error, when that is a terminal."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_INTERVAL = 0.1  # seconds between two drawings


class Silent:
    """Shows nothing."""

    def reach(self, step: int) -> None:
        """Do nothing."""

    def say(self, step: int, note: str) -> None:
        """Do nothing."""


class Bar(Silent):
    """Draws at most ten times a second, whatever the number of steps.

    Args:
        progress: rich's, which redraws only when told to.
        task: the bar's number in it.
    """

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task, self._next = progress, task, 0.0

    def reach(self, step: int) -> None:
        """Show that ``step`` steps are done."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            self._progress.update(self._task, completed=step, refresh=True)

    def say(self, step: int, note: str) -> None:
        """Show that ``step`` steps are done, and a note beside the bar."""
        self._progress.update(self._task, completed=step, note=note, refresh=True)


@contextlib.contextmanager
def shown(description: str, done: int, total: int, wanted: bool | None) -> Iterator[Silent]:
    """A bar for ``total`` steps, ``done`` of which are done.

    Args:
        description: what stands before it.
        done: the number of steps at its beginning.
        total: the number of steps at its end.
        wanted: whether to show it; None shows it when standard error is a terminal.
    """
    console = Console(stderr=True)
    if wanted is False or (wanted is None and not console.is_terminal):
        yield Silent()
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    gone_at_the_end = console.is_terminal  # elsewhere only its last state is printed
    with Progress(*columns, console=console, auto_refresh=False, transient=gone_at_the_end) as progress:
        yield Bar(progress, progress.add_task(description, completed=done, total=total, note=""))
