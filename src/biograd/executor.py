"""Who does work that is many pieces: this process, several of this machine, a cluster, or what else is registered."""

import contextlib
import signal
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Annotated, Any, Protocol, TypeVar, runtime_checkable

from annotated_types import Ge

from biograd.errors import RunFailed, UserMistake
from biograd.registry import Registry

Item = TypeVar("Item")
Done = TypeVar("Done")

LOOK_EVERY = 1.0
"""Seconds between two looks at processes from which nothing has come."""

REGISTRY = Registry(
    "engine",
    {
        "local": "biograd.executor:Local",
        "ray": "biograd.engines.ray:Ray",
        "slurm": "biograd.engines.slurm:Slurm",
    },
    group="biograd.executors",
)
"""Executors by name; on a command line an executor is an engine."""


@dataclass(frozen=True)
class Needs:
    """What a piece of work asks of the machine that does it.

    Attributes:
        threads: that it computes with.
        gpus: how many it computes on.
        title: what lists of a cluster call it.
    """

    threads: int = 1
    gpus: int = 0
    title: str = "biograd"


def one_thread(item: object) -> Needs:
    """What a piece of work needs of which nothing is said."""
    return Needs()


@runtime_checkable
class Executor(Protocol):
    """Works through items that do not depend on each other.

    One executor serves comparisons, studies, attacks and simulations alike; it knows nothing of what they do. The
    work is a function of a module and the items can be pickled, so that both reach another process or machine.
    """

    @property
    def is_here(self) -> bool:
        """Whether work is done in this process, one item after another, and so may speak to the terminal."""
        ...

    @property
    def is_on_this_machine(self) -> bool:
        """Whether no other machine works, which might have devices that this one lacks."""
        ...

    def map(
        self,
        work: Callable[[Item], Done],
        items: Iterable[Item],
        needs: Callable[[Item], Needs] = one_thread,
    ) -> Generator[tuple[int, Done], None, None]:
        """Do the work for every item.

        What the work raises is raised here. When the generator is closed, or raises, what is still at work is
        ended and the rest is not begun. Work whose worker was killed may be begun anew, by executors that say so.

        Args:
            work: a function of a module.
            items: that can be pickled.
            needs: what the work for an item asks of a machine, for executors that choose among machines.

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
        UserMistake: an unknown name or setting, a value out of range, or no executor.
    """
    from biograd.settings import validate

    constructor = REGISTRY.find(name)
    made = constructor(**validate(constructor, settings, f"engine {name!r}"))
    if not isinstance(made, Executor):
        raise UserMistake(
            f"engine {name!r} makes a {type(made).__name__}, expected one with is_here, is_on_this_machine and map, "
            "as biograd.executor.Executor has them"
        )
    return made


def results(
    executor: Executor,
    work: Callable[[Item], Done],
    items: Iterable[Item],
    tell: Callable[[int], object] = lambda done: None,
    needs: Callable[[Item], Needs] = one_thread,
) -> list[Done]:
    """``[work(item) for item in items]``, by an executor.

    Args:
        executor: does the work.
        work: a function of a module.
        items: that can be pickled.
        tell: is called with the number of items done so far.
        needs: what the work for an item asks of a machine.
    """
    items = list(items)
    found: dict[int, Done] = {}
    with contextlib.closing(executor.map(work, items, needs)) as finished:
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

    @property
    def is_on_this_machine(self) -> bool:
        """Always."""
        return True

    def map(
        self,
        work: Callable[[Item], Done],
        items: Iterable[Item],
        needs: Callable[[Item], Needs] = one_thread,
    ) -> Generator[tuple[int, Done], None, None]:
        """Do the work for every item; see `Executor.map`. A single item is worked on in this process.

        What the items need is the user's to weigh, by the number of jobs.
        """
        items = list(items)
        if self.is_here or len(items) < 2:
            yield from ((place, work(item)) for place, item in enumerate(items))
        else:
            yield from _in_processes(work, items, self.jobs)


def _in_processes(
    work: Callable[[Item], Done], items: Sequence[Item], jobs: int
) -> Generator[tuple[int, Done], None, None]:
    quietly = (signal.SIGINT, signal.SIG_DFL)  # an interrupt ends the processes without a traceback each
    started: list[SpawnProcess] = []
    pool = ProcessPoolExecutor(jobs, _context(started), signal.signal, quietly)
    try:
        places: dict[Future[Done], int] = {pool.submit(work, item): n for n, item in enumerate(items)}
        pending = set(places)
        while pending:
            finished, pending = wait(pending, LOOK_EVERY, FIRST_COMPLETED)
            for future in finished:
                yield places[future], future.result()
            # A pool whose process dies while another is being started may never notice.
            if not finished and any(process.exitcode is not None for process in started):
                raise BrokenProcessPool
    except BaseException as error:
        # The pool would wait for what is at work, hours perhaps; nothing is lost with it that a file does not keep.
        for process in started:
            if process.pid is not None:
                process.kill()
        if isinstance(error, BrokenProcessPool):
            raise RunFailed(
                "a process was killed, perhaps for want of memory: fewer jobs need less"
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _context(started: list[SpawnProcess]) -> SpawnContext:
    """A context that starts new interpreters, and keeps the processes that it makes in a list."""

    def kept(*args: Any, **kwargs: Any) -> SpawnProcess:
        started.append(SpawnProcess(*args, **kwargs))
        return started[-1]

    context = SpawnContext()
    context.Process = kept  # pyright: ignore[reportAttributeAccessIssue]
    return context
