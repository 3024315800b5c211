"""Train the cells of a study, and leave beside the runs what a report shows of it."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from biograd import records
from biograd.errors import RunFailed, UserMistake, brief
from biograd.executor import Executor
from biograd.records import STUDY, StudyOutcome, read_study
from biograd.studies import outcome, tuned
from biograd.studies.attacks import attack_runs
from biograd.studies.cells import chosen, configuration, estimated, found, train, with_data
from biograd.studies.study import BudgetName, Study, StudyCell
from biograd.training.config import EVERY_EPOCH, ReadTest
from biograd.training.estimate import Workload


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
    announce: Callable[[Workload], object] | None = None,
) -> StudyOutcome:
    """Train what is not trained yet of a study, each run in ``directory/CELL-seedN``, and write ``study.json``.

    Finished runs are kept and unfinished ones resumed; runs of cells that are not chosen count in the table if
    they are there. Of several data sets, cells of those that are not there are left out, with a warning a set; so are
    cells of whose trials none ended with a value to choose by. Where
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
        RunFailed: records cannot be written, or every trial of every cell diverged.
    """
    root, machine = Path(directory), machine or {}
    cells = chosen(study, budget, pattern)
    _refuse_another(root, study, budget)
    _refuse_unread(study, cells, budget, machine)
    cells = cells if records.is_packed(root) else with_data(cells, budget, machine)
    found(
        study.cells, root, budget, machine
    )  # so that a cell that has changed is refused before hours of training
    if announce is not None:
        left = estimated(cells, root, budget, machine, seeds=seeds, executor=executor)
        if left is not None:
            announce(left)
    _warn_of(train(cells, root, budget, machine, seeds=seeds, executor=executor, progress=progress), cells)
    runs = found(cells, root, budget, machine)
    place = {key: machine[key] for key in ("data_dir", "device") if key in machine}
    attack_runs(study, runs, budget, executor=executor, machine=place, progress=progress)
    return _write(root, study, budget, machine)


def _warn_of(hopeless: Sequence[StudyCell], cells: Sequence[StudyCell]) -> None:
    """Say which cells have no runs, as all of their trials diverged.

    Raises:
        RunFailed: all that there are.
    """
    names = ", ".join(cell.name for cell in hopeless)
    if hopeless and len(hopeless) == len(cells):
        raise RunFailed(f"no trial of {brief(names)} ended with a value to choose by: all of them diverged")
    if hopeless:
        warnings.warn(f"left out are {brief(names)}: no trial ended with a value to choose by", stacklevel=3)


def _write(root: Path, study: Study, budget: BudgetName, machine: Mapping[str, Any]) -> StudyOutcome:
    """Write and return the outcome of all that is there; beside packed runs it lies already."""
    runs = found(study.cells, root, budget, machine)
    result: StudyOutcome = {
        "study": study.name,
        "title": study.title,
        "reference": study.reference,
        "budget": budget,
        "rows": outcome.rows(study, runs),
        "claims": [
            *outcome.verdicts(study, runs, budget),
            *outcome.sensitivities(study, tuned.searches(study.cells, budget, root), budget),
        ],
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
