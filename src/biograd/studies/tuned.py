"""The cells of a study whose settings are searched before they are trained."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from biograd import records
from biograd.executor import Executor
from biograd.records import Trials
from biograd.studies.study import BudgetName, StudyCell, Tuning
from biograd.training import RunConfig
from biograd.tuning import TRIALS, Budget, Contender, Point, do_trials
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
            together.setdefault((_folder(cell, root), tuning), []).append(contender(cell, machine))
    for (folder, tuning), members in together.items():
        do_trials(members, _budget(tuning), folder, executor=executor, progress=progress)


def trials(
    cell: StudyCell, budget: BudgetName, root: Path, machine: Mapping[str, Any]
) -> dict[Path, RunConfig]:
    """The trials of a cell, by their folders; none where the budget has it not tuned."""
    tuning = cell.amount(budget).tuning
    if tuning is None:
        return {}
    return trial_places([contender(cell, machine)], _budget(tuning), _folder(cell, root))


def begun(
    cell: StudyCell, budget: BudgetName, root: Path, machine: Mapping[str, Any]
) -> dict[Path, RunConfig]:
    """The first trial of a cell and its folder, by which all of them are known; none where they have not begun."""
    tuning, folder = cell.amount(budget).tuning, _folder(cell, root)
    if tuning is None or not records.exists(folder / TRIALS / cell.label / records.SEARCH):
        return {}
    return trial_places([contender(cell, machine)], replace(_budget(tuning), trials=1), folder)


def found(cell: StudyCell, budget: BudgetName, root: Path) -> Point | None:
    """The settings of the best trial of a cell; None where there is none, or trials are left to do."""
    done = _done(cell, budget, root)
    return done.best["settings"] if done and done.best else None


def searches(cells: Iterable[StudyCell], budget: BudgetName, root: Path) -> dict[str, Trials]:
    """The trials that there are of those of the cells that a budget has tuned, by the name of the cell."""
    places = {
        cell.name: _folder(cell, root) / TRIALS / cell.label for cell in cells if _is_tuned(cell, budget)
    }
    return {
        name: records.read_trials(place)
        for name, place in places.items()
        if records.exists(place / records.SEARCH)
    }


def is_hopeless(cell: StudyCell, budget: BudgetName, root: Path) -> bool:
    """Whether all trials of a cell are done, and none ended with a value to choose by."""
    done = _done(cell, budget, root)
    return done is not None and done.best is None


def _done(cell: StudyCell, budget: BudgetName, root: Path) -> Trials | None:
    """The trials of a cell when all of them are done."""
    tuning, place = cell.amount(budget).tuning, _folder(cell, root) / TRIALS / cell.label
    if tuning is None or not records.exists(place / records.SEARCH):
        return None
    trials = records.read_trials(place)
    return trials if len(trials.done) >= tuning.trials else None


def _is_tuned(cell: StudyCell, budget: BudgetName) -> bool:
    amount = cell.budget(budget)
    return amount is not None and amount.tuning is not None


def _folder(cell: StudyCell, root: Path) -> Path:
    return (root / cell.name).parent


def _budget(tuning: Tuning) -> Budget:
    return Budget(trials=tuning.trials, epochs=tuning.epochs, seed=SEARCHED_FROM)
