"""Work on a Ray cluster: a task for each piece, begun anew on another node where its own is lost."""

import contextlib
import logging
import os
import socket
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Le

from biograd.engines.away import Home, Order, carried_out, opened, require
from biograd.errors import RunFailed, UserMistake, brief, cut_short
from biograd.executor import LOOK_EVERY, Needs, one_thread

if TYPE_CHECKING:
    from ray import ObjectRef

Item = TypeVar("Item")
Done = TypeVar("Done")

_UNTIL_ENDED = 10.0
"""Seconds in which tasks that are ended should be gone."""

_MEND = (
    "begin one with ray start --head, make this machine one of its nodes with ray start --address HOST:PORT, and give "
    "that address"
)


class Ray:
    """Tasks on the nodes of a Ray cluster that is running.

    Each asks for as many CPUs as its run has threads, and for a GPU where it trains on one. All nodes share the working
    folder and the data, at the same paths, and have the same versions of Python, Ray and biograd; nothing is copied to
    them. What was at work on a node, or in a worker, that is lost is begun anew elsewhere: a run goes on from its
    checkpoint.

    Args:
        address: HOST:PORT of the cluster's head; None for ``$RAY_ADDRESS``, else the cluster that this machine is of.
        jobs: how many tasks at once, at most; None for as many as the cluster has room for.
        gpus: the part of a GPU that a run asks for which trains on one: 0.5 lets two share it.
        retries: how often a task that was lost is begun anew.
    """

    is_here = False
    is_on_this_machine = False

    def __init__(
        self,
        *,
        address: str | None = None,
        jobs: Annotated[int, Ge(1)] | None = None,
        gpus: Annotated[float, Gt(0), Le(1)] = 1.0,
        retries: Annotated[int, Ge(0)] = 10,
    ) -> None:
        require("ray", "ray", "cluster")
        if address is not None:
            _as_host_and_port(address)
        self.address, self.jobs, self.gpus, self.retries = address, jobs, gpus, retries

    def map(
        self,
        work: Callable[[Item], Done],
        items: Iterable[Item],
        needs: Callable[[Item], Needs] = one_thread,
    ) -> Generator[tuple[int, Done], None, None]:
        """Do the work for every item; see `biograd.executor.Executor.map`.

        Raises:
            UserMistake: there is no such cluster, or no node of it has what a piece of work asks for.
            RunFailed: a task was lost more than ``retries`` times.
        """
        items, home = list(items), Home.here()
        asked = [self._options(needs(item)) for item in items]
        orders = [Order.of(home, work, item) for item in items]
        if orders:
            with _connected(self.address):
                _refuse_too_much(asked)
                yield from self._worked(orders, asked)

    def _options(self, needs: Needs) -> dict[str, Any]:
        """What a task is told to Ray by."""
        return {
            "num_cpus": needs.threads,
            "num_gpus": needs.gpus * self.gpus,
            "name": needs.title,
            "max_retries": self.retries,
        }

    def _worked(
        self, orders: Sequence[Order], asked: Sequence[dict[str, Any]]
    ) -> Generator[tuple[int, Any], None, None]:
        import ray

        task, waiting = ray.remote(carried_out), deque(range(len(orders)))
        at_work: dict[ObjectRef[bytes], int] = {}
        try:
            while waiting or at_work:
                while waiting and (self.jobs is None or len(at_work) < self.jobs):
                    place = waiting.popleft()
                    at_work[task.options(**asked[place]).remote(orders[place])] = place
                for done in _ended(list(at_work), LOOK_EVERY):
                    yield at_work.pop(done), opened(_got(done))
        finally:
            for begun in at_work:
                ray.cancel(begun, force=True)
            _ended(list(at_work), _UNTIL_ENDED, all_of_them=True)


def _ended(
    tasks: "list[ObjectRef[bytes]]", seconds: float, *, all_of_them: bool = False
) -> "list[ObjectRef[bytes]]":
    """The tasks that have ended, as soon as one has, or all of them, or when the time is over."""
    import ray

    if not tasks:
        return []
    # Ray tells on standard output which node it has lost.
    with contextlib.redirect_stdout(sys.stderr):
        return ray.wait(tasks, num_returns=len(tasks) if all_of_them else 1, timeout=seconds)[0]


def _got(done: "ObjectRef[bytes]") -> bytes:
    """What a task returned.

    Raises:
        RunFailed: it was lost, or could not be begun.
    """
    import ray
    from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

    try:
        return ray.get(done)
    except RayTaskError as error:  # not of the work, whose errors come home pickled
        raise RunFailed(
            f"a node of the cluster cannot do the work ({_first_line(error.cause)}): all need the same versions of "
            "Python, Ray and biograd"
        ) from error
    except OutOfMemoryError as error:
        raise RunFailed("a task was ended for want of memory: fewer jobs at once need less") from error
    except RayError as error:
        raise RunFailed(f"a task was lost too often: {_first_line(error)}") from error


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Be a driver of the cluster; of one that this process is connected to already, stay it.

    Raises:
        UserMistake: there is none, or this process is connected to another.
    """
    import ray

    if ray.is_initialized():
        there = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", there):
            raise UserMistake(
                f"this process is connected to the Ray cluster {there}, and address is {address!r}"
            )
        yield
        return
    _require_listener(address or os.environ.get("RAY_ADDRESS", "auto"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what later versions of Ray will do
            ray.init(address or "auto", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserMistake(
            f"cannot connect to a Ray cluster {f'at {address}' if address else 'on this machine'} "
            f"({_first_line(error)}): {_MEND}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Refuse an address at which nobody listens, which Ray would try for minutes.

    Raises:
        UserMistake: it is of no cluster's head.
    """
    if address == "auto":
        return
    place = _as_host_and_port(address)
    try:
        socket.create_connection(place, timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserMistake(f"no Ray cluster has its head at {address} ({error}): {_MEND}") from error


def _as_host_and_port(address: str) -> tuple[str, int]:
    """The two parts of HOST:PORT.

    Raises:
        UserMistake: it is not written so.
    """
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise UserMistake(f"address {brief(address)} is not HOST:PORT of the head of a Ray cluster: {_MEND}")
    return host, int(port)


def _refuse_too_much(asked: Sequence[dict[str, Any]]) -> None:
    """Refuse what no node could ever do: Ray would wait for a node that can.

    Raises:
        UserMistake: a task asks for more CPUs and GPUs than any node has.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for one in asked:
        cpus, gpus = one["num_cpus"], one["num_gpus"]
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            there = ", ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes)
            raise UserMistake(
                f"{one['name']} asks for {cpus} CPUs and {gpus:g} GPUs, which no node of the cluster has (they have "
                f"{there}): ask for fewer threads or another device, or add a node"
            )


def _first_line(error: object) -> str:
    return cut_short(next(iter(str(error).strip().splitlines()), type(error).__name__))
