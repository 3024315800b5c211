"""Two-layer simulations as records: a file each, by any executor, and none made twice."""

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from biograd.errors import UserMistake
from biograd.executor import Executor, Local
from biograd.records import Environment, environment, exists, make_folder, read_row, refuse_packed, write_json
from biograd.records.schema import Json
from biograd.records.theory import SimulationRecord, TrialOutcome
from biograd.theory.settings import SimulationSettings
from biograd.theory.two_layer import CURVES, Outcome, simulate, trials_at_once


@dataclass(frozen=True)
class Simulation:
    """What one file is about.

    Attributes:
        settings: how its trials are simulated.
        trials: how many, ≥ 1.
        follow: steps from point to point of the curves that are kept; None for a fiftieth of the least number of
            steps.

    Raises:
        UserMistake: there is no trial, or no step between points.
    """

    settings: SimulationSettings
    trials: int
    follow: int | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "follow"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise UserMistake(f"{name} must be at least 1, got {given}")

    @property
    def config(self) -> Json:
        """All that its outcomes depend on, as JSON has it: the settings, what follows from them, trials and points."""
        follows = {"rate": self.settings.rate, "stopping": dataclasses.asdict(self.settings.stopping)}
        whole = {**dataclasses.asdict(self.settings), **follows, "trials": self.trials, "follow": self.gap}
        return json.loads(json.dumps(whole))

    @property
    def gap(self) -> int:
        """Steps from point to point of the curves."""
        return self.follow or -(-self.settings.stopping.least // 50)

    @property
    def file_name(self) -> str:
        """A name of its own for each configuration."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:10]
        return f"{self.settings.activation}-{self.settings.width}-{self.settings.method}-{digest}.json"

    def load(self, folder: Path) -> SimulationRecord | None:
        """The finished record in a folder, None where there is none.

        Raises:
            UserMistake: the file is of another configuration, or corrupted.
        """
        path = folder / self.file_name
        if not exists(path):
            return None
        record = read_row(path, SimulationRecord, "remove it, and its trials are simulated again")
        if record["config"] != self.config:
            raise UserMistake(f"{path} is not the record that its name says: remove it")
        return record


def run(
    simulations: Sequence[Simulation],
    folder: Path,
    *,
    executor: Executor | None = None,
    tell: Callable[[int], object] = lambda done: None,
) -> list[SimulationRecord]:
    """Make the simulations that a folder lacks, and return the records of all.

    A simulation's file is written, in one step, when all its trials are done. The trials of all are shared out, the
    longest first and each in one thread, in the chunks in which they would go together anyway: numbers do not depend
    on who makes them.

    Args:
        simulations: what is wanted.
        folder: where the records lie; made where there is none.
        executor: who makes them; None for this process.
        tell: is called with the number of trials done so far, those of finished simulations included.

    Raises:
        UserMistake: a record in the folder is corrupted, or one is missing in a packed file.
        RunFailed: a record cannot be written, or a process was killed.
    """
    found = {
        simulation: record for simulation in simulations if (record := simulation.load(folder)) is not None
    }
    done = sum(simulation.trials for simulation in found)
    tell(done)
    if len(found) < len(set(simulations)):
        refuse_packed(folder)
        make_folder(folder)
    with _one_thread():
        here, parts = (
            environment(),
            {simulation: _Parts(simulation) for simulation in simulations if simulation not in found},
        )
        shares = _shares(list(parts))
        with contextlib.closing((executor or Local()).map(_simulated, shares)) as simulated:
            for _, (simulation, part) in simulated:
                parts[simulation].add(part)
                done += len(part.trials)
                if parts[simulation].is_whole:
                    found[simulation] = parts[simulation].record(here)
                    write_json(folder / simulation.file_name, found[simulation])
                tell(done)
    return [found[simulation] for simulation in simulations]


@dataclass(frozen=True)
class _Part:
    """Some finished trials of a simulation."""

    trials: range
    outcomes: list[Outcome]
    seconds: float


class _Parts:
    """What there is of a simulation so far."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation, self.outcomes, self.seconds = simulation, list[Outcome](), 0.0

    def add(self, part: _Part) -> None:
        self.outcomes += part.outcomes
        self.seconds += part.seconds

    @property
    def is_whole(self) -> bool:
        return len(self.outcomes) == self.simulation.trials * len(self.simulation.settings.regularization)

    def record(self, here: Environment) -> SimulationRecord:
        """What is written; trials in order, whoever was the first to be done."""
        outcomes = sorted(self.outcomes, key=lambda outcome: outcome.trial)
        return {
            "config": self.simulation.config,
            "environment": here,
            "seconds": self.seconds,
            "outcomes": [_row(outcome) for outcome in outcomes],
        }


def _row(outcome: Outcome) -> TrialOutcome:
    """What is written of a trial: six digits of each point of its curves."""
    curves = {name: [float(f"{value:.6g}") for value in outcome.curves[name]] for name in CURVES}
    row = {**dataclasses.asdict(outcome), "curves": {"steps": outcome.curves["steps"], **curves}}
    return cast("TrialOutcome", row)


def _shares(simulations: Sequence[Simulation]) -> list[tuple[Simulation, range]]:
    """Chunks of trials, those that take longest first."""
    shares = []
    for simulation in sorted(
        simulations, key=lambda simulation: -simulation.settings.stopping.least * simulation.settings.width
    ):
        size = trials_at_once(simulation.settings)
        shares += [
            (simulation, range(start, min(start + size, simulation.trials)))
            for start in range(0, simulation.trials, size)
        ]
    return shares


def _simulated(share: tuple[Simulation, range]) -> tuple[Simulation, _Part]:
    simulation, trials = share
    began = time.perf_counter()
    with _one_thread():
        outcomes = simulate(simulation.settings, trials, follow=simulation.gap, chunk=len(trials))
    return simulation, _Part(trials, outcomes, time.perf_counter() - began)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch work in one thread; afterwards it has as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
