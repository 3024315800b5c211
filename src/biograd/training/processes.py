"""Work on several runs at once, each in a process of its own."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from biograd.errors import RunFailed
from biograd.training.progress import shown

Item = TypeVar("Item")
Done = TypeVar("Done")


def in_processes(
    work: Callable[[Item], Done], items: Iterable[Item], jobs: int, what: str, progress: bool | None = None
) -> list[Done]:
    """``[work(item) for item in items]``, as many at once as there are jobs.

    An interrupt ends the processes without a traceback each.

    Args:
        work: a function of a module, which new processes import.
        items: what to work on.
        jobs: how many processes, ≥ 1.
        what: what the progress bar calls the items.
        progress: whether to draw it; None draws it when standard error is a terminal.

    Raises:
        RunFailed: a process was killed.
    """
    items, done = list(items), []
    spawn = multiprocessing.get_context("spawn")
    quietly = (signal.SIGINT, signal.SIG_DFL)
    try:
        with (
            ProcessPoolExecutor(jobs, spawn, initializer=signal.signal, initargs=quietly) as pool,
            shown(what, 0, len(items), progress) as bar,
        ):
            for result in pool.map(work, items):
                done.append(result)
                bar.reach(len(done))
    except BrokenProcessPool:
        raise RunFailed("a process was killed, perhaps for want of memory: fewer jobs need less") from None
    return done
