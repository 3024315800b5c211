"""Who does work that is many pieces: this process, several of this machine, or what else is registered."""

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Annotated, Any, Protocol, TypeVar

from annotated_types import Ge

from biograd.errors import RunFailed, UserMistake
from biograd.registry import Registry

Item = TypeVar("Item")
Done = TypeVar("Done")

REGISTRY = Registry("executor", {"local": "biograd.executor:Local"}, group="biograd.executors")


class Executor(Protocol):
    """Works through items that do not depend on each other.

    One executor serves comparisons, studies, attacks and simulations alike; it knows nothing of what they do. The
    work is a function of a module and the items can be pickled, so that both reach another process or machine.
    """

    @property
    def is_here(self) -> bool:
        """Whether work is done in this process, one item after another, and so may speak to the terminal."""
        ...

    def map(
        self, work: Callable[[Item], Done], items: Iterable[Item]
    ) -> Generator[tuple[int, Done], None, None]:
        """Do the work for every item.

        What the work raises is raised here. When the generator is closed, or raises, what is still at work is
        ended and the rest is not begun.

        Args:
            work: a function of a module.
            items: that can be pickled.

        Yields:
            The place of an item and the result of its work, as they are done, in any order.

        Raises:
            RunFailed: a worker was killed.
        """
        ...


def names() -> list[str]:
    """The short names of every executor."""
    return REGISTRY.names()


def create(name: str, **settings: Any) -> Executor:
    """Make an executor by its name.

    Raises:
        UserMistake: an unknown name or setting, or a value out of range.
    """
    from biograd.settings import validate

    constructor = REGISTRY.find(name)
    return constructor(**validate(constructor, settings, f"executor {name!r}"))


def results(
    executor: Executor,
    work: Callable[[Item], Done],
    items: Iterable[Item],
    tell: Callable[[int], object] = lambda done: None,
) -> list[Done]:
    """``[work(item) for item in items]``, by an executor.

    Args:
        executor: does the work.
        work: a function of a module.
        items: that can be pickled.
        tell: is called with the number of items done so far.
    """
    items = list(items)
    found: dict[int, Done] = {}
    with contextlib.closing(executor.map(work, items)) as finished:
        for place, result in finished:
            found[place] = result
            tell(len(found))
    return [found[place] for place in range(len(items))]


class Local:
    """Processes of this machine, each a new interpreter.

    Args:
        jobs: how many at once; 1 works in this process.

    Example:
        >>> list(Local().map(abs, [-3, 2]))
        [(0, 3), (1, 2)]
    """

    def __init__(self, *, jobs: Annotated[int, Ge(1)] = 1) -> None:
        if jobs < 1:
            raise UserMistake(f"jobs is {jobs}, expected at least 1")
        self.jobs = jobs

    @property
    def is_here(self) -> bool:
        """Whether there is no other process."""
        return self.jobs == 1

    def map(
        self, work: Callable[[Item], Done], items: Iterable[Item]
    ) -> Generator[tuple[int, Done], None, None]:
        """Do the work for every item; see `Executor.map`. A single item is worked on in this process."""
        items = list(items)
        if self.is_here or len(items) < 2:
            yield from ((place, work(item)) for place, item in enumerate(items))
        else:
            yield from _in_processes(work, items, self.jobs)


def _in_processes(
    work: Callable[[Item], Done], items: Sequence[Item], jobs: int
) -> Generator[tuple[int, Done], None, None]:
    quietly = (signal.SIGINT, signal.SIG_DFL)  # an interrupt ends the processes without a traceback each
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), signal.signal, quietly)
    try:
        places: dict[Future[Done], int] = {pool.submit(work, item): n for n, item in enumerate(items)}
        for future in as_completed(places):
            yield places[future], future.result()
    except BaseException as error:
        # The pool would wait for what is at work, hours perhaps; nothing is lost with it that a file does not keep.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise RunFailed(
                "a process was killed, perhaps for want of memory: fewer jobs need less"
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)
