"""Train the cells of a study, and leave beside the runs what a report shows of it."""

import difflib
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from biograd import records
from biograd.errors import DataUnavailable, UserMistake, brief
from biograd.executor import Executor, Local
from biograd.records import CONFIG, RESULT, STUDY, Run, StudyOutcome, read_study
from biograd.studies import outcome, tuned
from biograd.studies.attacks import attack_runs
from biograd.studies.study import BudgetName, Study, StudyCell
from biograd.training import RunConfig, config_layers, examples, train_all
from biograd.training.compare import is_finished, tried
from biograd.training.config import EVERY_EPOCH, ReadTest, given_by
from biograd.training.estimate import Estimate, Pace, estimate, pace
from biograd.training.needs import as_tried_here
from biograd.tuning import Point


def reproduce(
    study: Study,
    directory: str | os.PathLike[str],
    *,
    budget: BudgetName = "quick",
    pattern: str = "*",
    seeds: int | None = None,
    executor: Executor | None = None,
    machine: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    announce: Callable[[Estimate], object] | None = None,
) -> StudyOutcome:
    """Train what is not trained yet of a study, each run in ``directory/CELL-seedN``, and write ``study.json``.

    Finished runs are kept and unfinished ones resumed; runs of cells that are not chosen count in the table if
    they are there. Of several data sets, cells of those that are not there are left out, with a warning a set. Where
    the budget has a cell tuned, its trials come first, each in a folder beside its runs,
    ``trials/LABEL/NUMBER``, as `biograd.tuning` has them, from a seed that no other run has.

    Args:
        study: what to train.
        directory: new, or that of an earlier call with the same study and budget; a packed file will do if all that
            is chosen is finished in it.
        budget: how much.
        pattern: which cells, by name: ``"mnist/*/bp"``.
        seeds: how many a cell, in place of the budget's.
        executor: who trains and attacks the runs; None for this process, one after another.
        machine: keys of a configuration that no number depends on, ``{"data_dir": …, "device": …, "track": …}``.
        progress: as for `biograd.training.train`.
        announce: is called before the first run with what there is to train, trials and results together, where
            anything is; a few steps of each cell are timed for it. Attacks are not counted.

    Returns:
        What ``study.json`` holds: ``study title reference budget rows claims``, for which see `outcome`.

    Raises:
        UserMistake: no cell fits, or the directory holds other runs; nothing has been trained then.
        RunFailed: records cannot be written.
    """
    root, machine = Path(directory), machine or {}
    cells = chosen(study, budget, pattern)
    _refuse_another(root, study, budget)
    _refuse_unread(study, cells, budget, machine)
    cells = cells if records.is_packed(root) else _with_data(cells, budget, machine)
    found(study, root, budget, machine)  # so that a cell that has changed is refused before hours of training
    if announce is not None:
        parts = [_all_of(cell, root, budget, seeds, machine) for cell in cells]
        _announce(announce, parts, executor or Local())
    tuned.search(root, cells, budget, machine, executor=executor, progress=progress)
    places = _places(root, cells, budget, seeds, machine)
    train_all(places, executor=executor, progress=progress)
    picked = {cell.name for cell in cells}
    runs = {name: of_cell for name, of_cell in found(study, root, budget, machine).items() if name in picked}
    place = {key: machine[key] for key in ("data_dir", "device") if key in machine}
    attack_runs(study, runs, budget, executor=executor, machine=place, progress=progress)
    return _write(root, study, budget, machine)


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


def _with_data(cells: list[StudyCell], budget: BudgetName, machine: Mapping[str, Any]) -> list[StudyCell]:
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


def found(study: Study, root: Path, budget: BudgetName, machine: Mapping[str, Any]) -> dict[str, list[Run]]:
    """The runs below a folder of the cells of a budget, finished or not, by the name of the cell.

    Raises:
        UserMistake: a run there was made with another configuration than its cell has.
    """
    runs: dict[str, list[Run]] = {}
    for cell in (cell for cell in study.cells if cell.budget(budget)):
        there = _folders(root, cell)
        at = tuned.found(cell, budget, root) if there else None
        for seed, place in there:
            is_finished(place, configuration(cell, budget, seed, machine, at))
            runs.setdefault(cell.name, []).append(Run.load(place))
    return runs


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
        for seed in range(max(amounts.values()))
        for cell in cells
        if seed < amounts[cell.name]
    }


def _all_of(
    cell: StudyCell, root: Path, budget: BudgetName, seeds: int | None, machine: Mapping[str, Any]
) -> dict[Path, RunConfig]:
    """What is trained of a cell, its trials first; until these are done, results have other settings than they will."""
    return tuned.trials(cell, budget, root, machine) | _places(root, [cell], budget, seeds, machine)


def _announce(
    announce: Callable[[Estimate], object], cells: Sequence[Mapping[Path, RunConfig]], executor: Executor
) -> None:
    """Say how long all that is not finished of some cells will take, by steps of one run of each."""
    waiting: dict[Path, RunConfig] = {}
    paces: dict[Path, Pace] = {}
    for cell in cells:
        left = {place: config for place, config in cell.items() if not records.exists(place / RESULT)}
        for place in left:
            records.refuse_packed(place)
        if left:
            start, config = time.perf_counter(), next(iter(left.values()))
            setup = tried(as_tried_here(config, executor))
            waiting |= left
            paces |= dict.fromkeys(left, pace(setup, time.perf_counter() - start))
    if waiting:
        announce(estimate(waiting, paces))


def _write(root: Path, study: Study, budget: BudgetName, machine: Mapping[str, Any]) -> StudyOutcome:
    """Write and return the outcome of all that is there; beside packed runs it lies already."""
    runs = found(study, root, budget, machine)
    result: StudyOutcome = {
        "study": study.name,
        "title": study.title,
        "reference": study.reference,
        "budget": budget,
        "rows": outcome.rows(study, runs),
        "claims": outcome.verdicts(study, runs, budget),
    }
    if not records.is_packed(root):
        records.write_json(root / STUDY, result)
    return result


def _refuse_unread(
    study: Study, cells: Sequence[StudyCell], budget: BudgetName, machine: Mapping[str, Any]
) -> None:
    """Refuse what the study shows of the test set where a cell leaves it unread, or reads it too seldom.

    Raises:
        UserMistake: a quantity, or an attack, needs the test set.
    """
    for cell in cells:
        given = configuration(cell, budget, 0, machine).read_test
        for needed, reads in _of_the_test_set(study, cell):
            shows = f"study {study.name!r} shows {needed} of {cell.name!r}, whose runs"
            if not given:
                raise UserMistake(
                    f"{shows} leave the test set unread: let them read it (read_test = "
                    f"{reads if reads == EVERY_EPOCH else 'true'}), or show what is measured on the validation part"
                )
            if reads == EVERY_EPOCH and given != EVERY_EPOCH:
                raise UserMistake(
                    f"{shows} read the test set once: let them read it after every epoch (read_test = {EVERY_EPOCH})"
                )


def _of_the_test_set(study: Study, cell: StudyCell) -> Iterator[tuple[str, ReadTest]]:
    """What the study wants to know of the test examples of a cell, and the ``read_test`` that it needs."""
    groups = {group.name: group for group in study.groups if cell in study.cells_of(group)}
    shown = [one.quantity for group in groups.values() for one in group.shows]
    claimed = [claim.quantity for claim in study.claims if {claim.group, claim.beside} & set(groups)]
    for quantity in (*shown, *claimed):
        if quantity.reads_test:
            yield quantity.title, quantity.reads_test
    for plan in study.robustness:
        if cell in study.cells_of(plan):
            yield "accuracy under attack", True


def _refuse_another(root: Path, study: Study, budget: BudgetName) -> None:
    """Refuse the folder of another study or budget.

    Raises:
        UserMistake: it is one.
    """
    there = read_study(root)
    if there is not None and (there["study"], there["budget"]) != (study.name, budget):
        raise UserMistake(
            f"{root} holds the study {there['study']} at the {there['budget']} budget: give another folder"
        )
