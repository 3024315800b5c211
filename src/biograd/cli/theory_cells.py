"""Cells of the two-layer simulations made by a command: with a progress bar, and kept as records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biograd.cli.runs import advice_when_stopped

if TYPE_CHECKING:
    from biograd.theory.cells import Cell, Record


def records(cells: "Sequence[Cell]", folder: Path, jobs: int) -> "list[Record]":
    """The records of cells, those that there are in the folder and those that have to be made."""
    from biograd.theory.cells import run
    from biograd.training.progress import shown

    trials = sum(cell.trials for cell in cells)
    with (
        advice_when_stopped("the same command goes on where it stopped, cell by cell"),
        shown("trials", 0, trials, None) as bar,
    ):
        return run(cells, folder, jobs=jobs, tell=bar.reach)
