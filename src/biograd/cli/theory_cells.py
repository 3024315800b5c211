"""Cells of the two-layer simulations made by a command: with a progress bar, and kept as records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biograd.cli.runs import advice_when_stopped

if TYPE_CHECKING:
    import biograd.theory.cells  # whole names in signatures: the docs have more than one `Cell`


def records(
    cells: "Sequence[biograd.theory.cells.Cell]", folder: Path, jobs: int
) -> "list[biograd.theory.cells.Record]":
    """The records of cells, those that there are in the folder and those that have to be made."""
    from biograd.theory.cells import run
    from biograd.training.progress import shown

    trials = sum(cell.trials for cell in cells)
    with (
        advice_when_stopped("the same command goes on where it stopped, cell by cell"),
        shown("trials", 0, trials, None) as bar,
    ):
        return run(cells, folder, jobs=jobs, tell=bar.reach)
