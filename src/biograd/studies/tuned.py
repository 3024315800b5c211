"""The cells of a study whose settings are searched before they are trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from biograd import records
from biograd.executor import Executor
from biograd.studies.study import BudgetName, StudyCell, Tuning
from biograd.training import RunConfig
from biograd.tuning import Budget, Contender, Point, best_of, choose
from biograd.tuning.contender import TRIALS
from biograd.tuning.search import trial_places

SEARCHED_FROM = 1000
"""The seed of all trials, which no run of a result has."""


def contender(cell: StudyCell, machine: Mapping[str, Any] | None = None) -> Contender:
    """A cell as a search has it.

    Args:
        cell: of a study.
        machine: keys that no number depends on; trackers follow no trials.
    """
    here = {key: value for key, value in (machine or {}).items() if key != "track"}
    return Contender.of({**cell.configuration, **here}, cell.label)


def search(
    root: Path,
    cells: Sequence[StudyCell],
    budget: BudgetName,
    machine: Mapping[str, Any],
    *,
    executor: Executor | None,
    progress: bool | None,
) -> None:
    """Do the trials of the cells that a budget has tuned; the arguments are those of `biograd.studies.reproduce`.

    Cells whose runs lie in one folder are searched trial by trial together.
    """
    together: dict[tuple[Path, Tuning], list[Contender]] = {}
    for cell in cells:
        if tuning := cell.amount(budget).tuning:
            together.setdefault(((root / cell.name).parent, tuning), []).append(contender(cell, machine))
    for (folder, tuning), members in together.items():
        choose(members, _budget(tuning), folder, executor=executor, progress=progress)


def trials(
    cell: StudyCell, budget: BudgetName, root: Path, machine: Mapping[str, Any]
) -> dict[Path, RunConfig]:
    """The trials of a cell, by their folders; none where the budget has it not tuned."""
    tuning = cell.amount(budget).tuning
    if tuning is None:
        return {}
    return trial_places([contender(cell, machine)], _budget(tuning), (root / cell.name).parent)


def found(cell: StudyCell, budget: BudgetName, root: Path) -> Point | None:
    """The settings of the best trial of a cell, None where the budget has none, or they are not all done."""
    tuning, folder = cell.amount(budget).tuning, (root / cell.name).parent
    trials = folder / TRIALS / cell.label
    if tuning is None or not records.exists(trials / records.SEARCH):
        return None
    if len(records.read_trials(trials).done) < tuning.trials:
        return None
    return best_of(contender(cell), _budget(tuning), folder).point


def _budget(tuning: Tuning) -> Budget:
    return Budget(trials=tuning.trials, epochs=tuning.epochs, seed=SEARCHED_FROM)
