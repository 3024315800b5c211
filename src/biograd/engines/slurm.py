"""Work as Slurm jobs, by submitit: a job for each piece, queued anew where it is preempted, out of time or lost."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt

from biograd.engines.away import Home, Order, carried_out, opened, require
from biograd.errors import RunFailed, UserMistake, cut_short
from biograd.executor import LOOK_EVERY, Needs, one_thread

if TYPE_CHECKING:
    from submitit import AutoExecutor, Job
    from submitit.helpers import DelayedSubmission

Item = TypeVar("Item")
Done = TypeVar("Done")

_TIMES_OUT = 10_000
"""How often a job may run out of time; a run gets further each time."""

_UNTIL_ENDED = 10.0
"""Seconds in which processes that are cancelled should be gone."""


class Slurm:
    """Jobs of a Slurm cluster, submitted from one of its machines.

    Each asks for as many CPUs as its run has threads, and for a GPU where it trains on one. All machines share the
    working folder, the data and the Python environment, at the same paths. A job that is preempted or out of time is
    queued again, one that is lost is submitted again, and its run goes on from its checkpoint.

    Args:
        partition: in which jobs run; None for the cluster's default.
        time: minutes after which a job is stopped, and queued again.
        cpus: of a job; None for as many as its run has threads.
        gpus: of a job whose run trains on one.
        memory: of a job, in GB; None for the cluster's default.
        options: others of sbatch, ``account=deep,qos=low``.
        jobs: how many at once, at most; None submits all.
        retries: how often a job that was lost is submitted anew.
        logs: the folder of what jobs print, which all machines share.
        cluster: ``local`` has processes of this machine in place of jobs, by the same code, to try things out.
    """

    is_here = False

    def __init__(
        self,
        *,
        partition: str | None = None,
        time: Annotated[int, Ge(1)] = 240,
        cpus: Annotated[int, Ge(1)] | None = None,
        gpus: Annotated[int, Ge(1)] = 1,
        memory: Annotated[float, Gt(0)] | None = None,
        options: tuple[str, ...] = (),
        jobs: Annotated[int, Ge(1)] | None = None,
        retries: Annotated[int, Ge(0)] = 10,
        logs: str = "runs/slurm",
        cluster: Literal["slurm", "local"] = "slurm",
    ) -> None:
        require("submitit", "slurm", "slurm")
        self.partition, self.time, self.cpus, self.gpus, self.memory = partition, time, cpus, gpus, memory
        self.options = _as_pairs(options)
        self.jobs, self.retries, self.logs, self.cluster = jobs, retries, logs, cluster

    @property
    def is_on_this_machine(self) -> bool:
        """Whether there are processes in place of jobs."""
        return self.cluster == "local"

    def map(
        self,
        work: Callable[[Item], Done],
        items: Iterable[Item],
        needs: Callable[[Item], Needs] = one_thread,
    ) -> Generator[tuple[int, Done], None, None]:
        """Do the work for every item; see `biograd.executor.Executor.map`.

        Raises:
            UserMistake: there is no Slurm here, or it refuses a job.
            RunFailed: a job was lost more than ``retries`` times.
        """
        items, home = list(items), Home.here()
        asked = [self._parameters(needs(item)) for item in items]
        orders = [Order.of(home, work, item) for item in items]
        if orders:
            yield from self._worked(self._executor(), orders, asked)

    def _executor(self) -> "AutoExecutor":
        """What submits jobs.

        Raises:
            UserMistake: this is no machine of a Slurm cluster.
        """
        from submitit import AutoExecutor

        given: Any = {f"{self.cluster}_max_num_timeout": _TIMES_OUT}
        try:
            return AutoExecutor(Path(self.logs).absolute(), self.cluster, **given)
        except RuntimeError as error:
            raise UserMistake(
                "there is no Slurm on this machine (no srun): give the command on one from which jobs are submitted, "
                "or try it with --engine.cluster local"
            ) from error

    def _parameters(self, needs: Needs) -> dict[str, Any]:
        """What submitit is told of a job."""
        found = {
            "name": needs.title,
            "timeout_min": self.time,
            "cpus_per_task": self.cpus or needs.threads,
            "gpus_per_node": self.gpus * needs.gpus or None,
            "mem_gb": self.memory,
            "slurm_partition": self.partition,
            "slurm_additional_parameters": self.options or None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _worked(
        self, executor: "AutoExecutor", orders: Sequence[Order], asked: Sequence[dict[str, Any]]
    ) -> Generator[tuple[int, Any], None, None]:
        waiting, lost = deque(range(len(orders))), [0] * len(orders)
        at_work: dict[int, Job[bytes]] = {}
        try:
            while waiting or at_work:
                while waiting and (self.jobs is None or len(at_work) < self.jobs):
                    place = waiting.popleft()
                    at_work[place] = _submitted(executor, orders[place], asked[place])
                ended = [place for place, job in at_work.items() if job.done()]
                for place in ended:
                    job = at_work.pop(place)
                    done = _got(job, is_last=lost[place] >= self.retries)
                    if done is None:
                        lost[place] += 1
                        waiting.append(place)
                    else:
                        yield place, opened(done)
                if not ended:
                    time.sleep(LOOK_EVERY)
        finally:
            self._cancel(list(at_work.values()))

    def _cancel(self, jobs: "Sequence[Job[bytes]]") -> None:
        """End jobs; where they are processes of this machine, wait until they are gone, for a while."""
        for job in jobs:
            job.cancel(check=False)
        until = time.monotonic() + _UNTIL_ENDED
        while self.is_on_this_machine and any(not job.done() for job in jobs) and time.monotonic() < until:
            time.sleep(0.1)


class Errand:
    """Carries out an order, and once more where its job is stopped."""

    def __call__(self, order: Order) -> bytes:
        """Do the work."""
        return carried_out(order)

    def checkpoint(self, order: Order) -> "DelayedSubmission":
        """What submitit queues when the job is preempted or out of time."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, order)


def _as_pairs(options: Sequence[str]) -> dict[str, str]:
    """``["account=deep"]`` by name.

    Raises:
        UserMistake: one has no value.
    """
    pairs = [option.partition("=") for option in options]
    for name, _, value in pairs:
        if not name or not value:
            raise UserMistake(
                f"option {name!r} of sbatch has no value: write options as NAME=VALUE,NAME=VALUE"
            )
    return {name.removeprefix("--").replace("-", "_"): value for name, _, value in pairs}


def _submitted(executor: "AutoExecutor", order: Order, asked: dict[str, Any]) -> "Job[bytes]":
    """A job in the queue.

    Raises:
        UserMistake: Slurm refuses it.
    """
    from submitit.core.utils import FailedJobError

    executor.update_parameters(**asked)
    try:
        return executor.submit(Errand(), order)
    except FailedJobError as error:
        raise UserMistake(f"Slurm refuses the job: {_last_line(error)}") from error


def _got(job: "Job[bytes]", *, is_last: bool) -> bytes | None:
    """What a job returned, whose files are then removed; None where it was lost and may be submitted again.

    Raises:
        RunFailed: it was lost, for the last time, or could not do the work.
    """
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        done = job.result()
    except FailedJobError as error:
        raise RunFailed(
            f"job {job.job_id} could not do the work ({_last_line(error)}): see {job.paths.stderr}"
        ) from error
    except UncompletedJobError as error:
        if not is_last:
            return None
        raise RunFailed(
            f"job {job.job_id} was lost too often, at last {job.state}: see {job.paths.stderr}"
        ) from error
    paths = job.paths
    for path in (
        *(paths.submission_file, paths.submitted_pickle, paths.result_pickle),
        *(paths.stdout, paths.stderr),
    ):
        path.unlink(missing_ok=True)
    return done


def _last_line(error: object) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip("- ")]
    return cut_short(lines[-1].strip() if lines else type(error).__name__)
