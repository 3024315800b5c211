"""What is trained where of the cells of a study, what is there already, and how long the rest will take."""

import difflib
import re
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from biograd import records
from biograd.errors import DataUnavailable, UserMistake, brief
from biograd.executor import Executor, Local
from biograd.records import CONFIG, RESULT, Run
from biograd.studies import tuned
from biograd.studies.study import BudgetName, Study, StudyCell
from biograd.training import RunConfig, config_layers, examples, train_all
from biograd.training.compare import is_finished, tried
from biograd.training.config import given_by
from biograd.training.estimate import Pace, Workload, estimate, pace
from biograd.training.needs import as_tried_here
from biograd.tuning import Point


def chosen(study: Study, budget: BudgetName, pattern: str) -> list[StudyCell]:
    """The cells of a budget whose names fit a pattern.

    Raises:
        UserMistake: there is none; the message names the nearest.
    """
    fitting = [cell for cell in study.cells if fnmatchcase(cell.name, pattern)]
    trained = [cell for cell in fitting if cell.budget(budget)]
    if trained:
        return trained
    if fitting:
        raise UserMistake(
            f"the {budget} budget leaves out {fitting[0].name!r}: --budget {fitting[0].budgets[-1]} trains it"
        )
    near = difflib.get_close_matches(pattern, [cell.name for cell in study.cells], n=4, cutoff=0.0)
    raise UserMistake(
        f"no cell of {study.name} fits {brief(pattern)}; the nearest are {', '.join(near)} (* stands for anything)"
    )


def with_data(cells: list[StudyCell], budget: BudgetName, machine: Mapping[str, Any]) -> list[StudyCell]:
    """The cells whose data is there, with a warning of each set that is not; all of them where they have one set.

    Raises:
        DataUnavailable: none of the sets is there.
    """
    configs = {cell.name: configuration(cell, budget, 0, machine) for cell in cells}
    sets = {config.data.name: config for config in configs.values()}
    missing: dict[str, DataUnavailable] = {}
    for name, config in sets.items() if len(sets) > 1 else ():
        try:
            examples.load_data(config)
        except DataUnavailable as error:
            missing[name] = error
    if missing and len(missing) == len(sets):
        raise next(iter(missing.values()))
    for name, error in missing.items():
        without = ", ".join(cell for cell, config in configs.items() if config.data.name == name)
        warnings.warn(f"left out are {brief(without)}: {error}", stacklevel=3)
    return [cell for cell in cells if configs[cell.name].data.name not in missing]


def configuration(
    cell: StudyCell, budget: BudgetName, seed: int, machine: Mapping[str, Any], at: Point | None = None
) -> RunConfig:
    """What a run of a cell trains.

    Args:
        cell: of a study.
        budget: how much.
        seed: of the run.
        machine: keys that no number depends on.
        at: the settings that a search found, for a cell that the budget has tuned.

    Raises:
        UserMistake: the cell is wrong in itself, or the budget leaves it out.
    """
    amount = cell.amount(budget)
    own = {"label": cell.label, "seed": seed, "epochs": amount.epochs}
    given = {**{key: value for key, value in own.items() if value is not None}, **machine}
    if at is not None:
        return tuned.contender(cell).config(at, **given)
    layer = given_by(cell.configuration)
    if amount.tuning is None:
        layer = config_layers.merged(layer, given_by(cell.untuned))
    return RunConfig.from_sources(config_layers.merged(layer, given_by(given)))


def found(
    cells: Iterable[StudyCell], root: Path, budget: BudgetName, machine: Mapping[str, Any]
) -> dict[str, list[Run]]:
    """The runs below a folder of those of the cells that a budget trains, finished or not, by the name of the cell.

    Raises:
        UserMistake: a run there was made with another configuration than its cell has.
    """
    runs: dict[str, list[Run]] = {}
    for cell in (cell for cell in cells if cell.budget(budget)):
        for place, config in _there(cell, root, budget, machine).items():
            is_finished(place, config)
            runs.setdefault(cell.name, []).append(Run.load(place))
    return runs


def refuse_others(
    cells: Iterable[StudyCell], root: Path, budget: BudgetName, machine: Mapping[str, Any]
) -> None:
    """Refuse what is there of some cells, trials or runs, where it is of other settings than the cells have.

    Raises:
        UserMistake: a folder holds a run with another configuration, or anything else.
    """
    for cell in cells:
        for place, config in (
            tuned.begun(cell, budget, root, machine) | _there(cell, root, budget, machine)
        ).items():
            is_finished(place, config)


def train(
    cells: Sequence[StudyCell],
    root: Path,
    budget: BudgetName,
    machine: Mapping[str, Any],
    *,
    seeds: int | None = None,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> list[StudyCell]:
    """Do the trials of cells that a budget has tuned, then train all of them; the rest is as for `reproduce`.

    Returns:
        The cells of whose trials none ended with a value to choose by: they have no runs.
    """
    tuned.search(root, cells, budget, machine, executor=executor, progress=progress)
    hopeless = [cell for cell in cells if tuned.is_hopeless(cell, budget, root)]
    places = _places(root, [cell for cell in cells if cell not in hopeless], budget, seeds, machine)
    train_all(places, executor=executor, progress=progress)
    return hopeless


def _there(
    cell: StudyCell, root: Path, budget: BudgetName, machine: Mapping[str, Any]
) -> dict[Path, RunConfig]:
    """The folders of the runs of a cell that there are, and what each should hold."""
    there = _folders(root, cell)
    at = tuned.found(cell, budget, root) if there else None
    return {place: configuration(cell, budget, seed, machine, at) for seed, place in there}


def _folders(root: Path, cell: StudyCell) -> list[tuple[int, Path]]:
    """Seeds and folders of the runs of a cell that there are."""
    beside = records.folders((root / cell.name).parent)
    named = re.compile(rf"{re.escape(cell.label)}-seed(\d+)")
    matches = [(named.fullmatch(path.name), path) for path in beside]
    return sorted((int(match[1]), path) for match, path in matches if match and records.exists(path / CONFIG))


def _places(
    root: Path, cells: list[StudyCell], budget: BudgetName, seeds: int | None, machine: Mapping[str, Any]
) -> dict[Path, RunConfig]:
    """What is trained where, seed by seed, so that an early stop leaves every cell with the first seeds."""
    amounts = {cell.name: seeds or amount.seeds for cell in cells if (amount := cell.budget(budget))}
    points = {cell.name: tuned.found(cell, budget, root) for cell in cells}
    return {
        root / f"{cell.name}-seed{seed}": configuration(cell, budget, seed, machine, points[cell.name])
        for seed in range(max(amounts.values(), default=0))
        for cell in cells
        if seed < amounts[cell.name]
    }


def _all_of(
    cell: StudyCell, root: Path, budget: BudgetName, seeds: int | None, machine: Mapping[str, Any]
) -> dict[Path, RunConfig]:
    """What is trained of a cell, its trials first; until these are done, results have other settings than they will."""
    results = [] if tuned.is_hopeless(cell, budget, root) else [cell]
    return tuned.trials(cell, budget, root, machine) | _places(root, results, budget, seeds, machine)


def estimated(
    cells: Sequence[StudyCell],
    root: Path,
    budget: BudgetName,
    machine: Mapping[str, Any],
    *,
    seeds: int | None = None,
    executor: Executor | None = None,
) -> Workload | None:
    """How long all that is not finished of some cells will take, by steps of one run of each; None where all is."""
    waiting: dict[Path, RunConfig] = {}
    paces: dict[Path, Pace] = {}
    for cell in cells:
        runs = _all_of(cell, root, budget, seeds, machine)
        left = {place: config for place, config in runs.items() if not records.exists(place / RESULT)}
        for place in left:
            records.refuse_packed(place)
        if left:
            start, config = time.perf_counter(), next(iter(left.values()))
            setup = tried(as_tried_here(config, executor or Local()))
            waiting |= left
            paces |= dict.fromkeys(left, pace(setup, time.perf_counter() - start))
    return estimate(waiting, paces) if waiting else None
