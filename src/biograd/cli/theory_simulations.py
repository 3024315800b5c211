"""Two-layer simulations that a command makes: with a progress bar, and kept as records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biograd.cli.runs import advice_when_stopped

if TYPE_CHECKING:
    import biograd.theory.simulations  # whole names in signatures: the docs have more than one `Record`
    from biograd.executor import Executor


def records(
    simulations: "Sequence[biograd.theory.simulations.Simulation]", folder: Path, executor: "Executor"
) -> "list[biograd.theory.simulations.Record]":
    """The records of simulations: read from the folder where they are there, made where they are not."""
    from biograd.progress import shown
    from biograd.theory.simulations import run

    trials = sum(simulation.trials for simulation in simulations)
    with (
        advice_when_stopped("the same command goes on where it stopped, simulation by simulation"),
        shown("trials", 0, trials, None) as bar,
    ):
        return run(simulations, folder, executor=executor, tell=bar.reach)
