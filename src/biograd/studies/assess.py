"""Does a rule scale? The rule and its baselines on every rung of the ladder, each searched alike, and a verdict."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biograd import records
from biograd.errors import DataUnavailable, UnsupportedNet, UserMistake, brief
from biograd.executor import Executor, Local
from biograd.handed import label_of
from biograd.records import ASSESSMENT, CONFIG, Assessment, Run, read_assessment
from biograd.records.assessment import RungRow
from biograd.studies.cells import configuration, estimated, refuse_others, train
from biograd.studies.ladder import BASELINES, LADDER, Rung, chosen
from biograd.studies.study import BudgetName, StudyCell
from biograd.studies.verdicts import LEVEL, Climbed, across, epochs, verdicts
from biograd.training import build, examples
from biograd.training.estimate import Workload
from biograd.training.needs import as_tried_here
from biograd.tuning import TRIALS

Rule = str | Mapping[str, Any]
"""A name, or a table of a name and settings."""

NO_TRIAL = "no trial ended with a value to choose by: all of them diverged"


@dataclass(frozen=True)
class Climb:
    """What is to be done on a rung.

    Attributes:
        rung: which.
        cells: what is trained there; empty where nothing is.
        left_out: why it is not climbed at all.
        reasons: why a rule has no part in it; those come to it whose trials all diverge.
    """

    rung: Rung
    cells: list[StudyCell]
    left_out: str | None = None
    reasons: dict[str, str] = field(default_factory=dict)


def assess(
    rules: Sequence[Rule],
    directory: str | os.PathLike[str],
    *,
    budget: BudgetName = "quick",
    rungs: str | Sequence[str] = "*",
    ladder: Sequence[Rung] = LADDER,
    seeds: int | None = None,
    executor: Executor | None = None,
    machine: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    announce: Callable[[Workload], object] | None = None,
) -> Assessment:
    """Climb the ladder with rules and their baselines, and write ``assessment.json`` after every rung.

    On a rung each of them is searched under one budget, and what validation data chose is trained from fresh seeds,
    which alone read the test set; see `biograd.tuning`. Runs lie in ``directory/RUNG/RULE-seedN``, trials beside them.
    Finished ones are kept and unfinished ones resumed. A rung whose data is not there is left out, and says so; so
    does a rule that cannot teach the net of a rung, or whose trials all diverge.

    Args:
        rules: what is assessed; the baselines always are.
        directory: new, or that of an earlier call at the same budget, whose rules are judged too.
        budget: how much; ``quick`` leaves out the upper rungs, and judges nothing.
        rungs: which, by name or pattern, or several of these: ``"mnist-*"``.
        ladder: from the bottom up.
        seeds: how many a rule, in place of the budget's.
        executor: who trains; None for this process, one run after another.
        machine: keys of a configuration that no number depends on, ``{"data_dir": …, "device": …}``.
        progress: as for `biograd.training.train`.
        announce: is called before the first run with what there is to train, where anything is.

    Returns:
        What ``assessment.json`` holds.

    Raises:
        UserMistake: no rung fits, a rule is there twice or not at all, the directory is packed or holds something else,
            another budget or other settings, or nothing of what is chosen can be trained; nothing has been trained
            then.
        RunFailed: records cannot be written.
    """
    root, machine = Path(directory), machine or {}
    climbs = plan(rules, root, budget=budget, rungs=rungs, ladder=ladder, machine=machine, executor=executor)
    if announce is not None:
        cells = [cell for climb in climbs for cell in climb.cells]
        left = estimated(cells, root, budget, machine, seeds=seeds, executor=executor)
        if left is not None:
            announce(left)
    result = _write(root, ladder, budget, climbs)
    for climb in (one for one in climbs if one.cells):
        options = {"seeds": seeds, "executor": executor, "progress": progress}
        hopeless = train(climb.cells, root, budget, machine, **options)
        climb.reasons.update({cell.label: NO_TRIAL for cell in hopeless})
        result = _write(root, ladder, budget, climbs)
    return result


def plan(
    rules: Sequence[Rule],
    root: Path,
    *,
    budget: BudgetName,
    rungs: str | Sequence[str] = "*",
    ladder: Sequence[Rung] = LADDER,
    machine: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
) -> list[Climb]:
    """What `assess` would do, rung by rung; the arguments are its own.

    Raises:
        UserMistake: as there.
    """
    _refuse_another(root, budget)
    contenders = _contenders(rules)
    climbs = [
        _climb(rung, contenders, budget, machine or {}, executor or Local()) for rung in chosen(ladder, rungs)
    ]
    if not any(climb.cells for climb in climbs):
        first = climbs[0]
        why = first.left_out or next(iter(first.reasons.values()))
        raise UserMistake(
            f"nothing can be trained on {brief(', '.join(one.rung.name for one in climbs))}: {why}"
        )
    # so that a rule with other settings is refused before hours of training on the rungs below
    refuse_others([cell for climb in climbs for cell in climb.cells], root, budget, machine or {})
    return climbs


def _contenders(rules: Sequence[Rule]) -> dict[str, dict[str, Any]]:
    """The tables of the baselines and of what is assessed, by the labels of their runs.

    Raises:
        UserMistake: there is none, one is there twice or has no name, or a baseline has settings or another's label.
    """
    tables = [{"name": rule} if isinstance(rule, str) else dict(rule) for rule in rules]
    for table in (one for one in tables if "name" not in one):
        raise UserMistake(f'a rule is a name, or a table with one; got {brief(table)}: give it "name"')
    labels = [label_of(table["name"]) for table in tables]
    if not tables or len(set(labels)) < len(labels):
        raise UserMistake(
            f"an assessment needs a rule or more, none of them twice; got {brief(', '.join(labels))}"
        )
    for label, table in zip(labels, tables, strict=True):
        if label in BASELINES and table["name"] != label:
            raise UserMistake(
                f"{brief(table['name'])} would be called {label}, as a baseline is: give it another name"
            )
        if label in BASELINES and set(table) > {"name"}:
            raise UserMistake(
                f"{label} is a baseline, which is the same in every assessment: give it no settings"
            )
    return {**{name: {"name": name} for name in BASELINES}, **dict(zip(labels, tables, strict=True))}


def _climb(
    rung: Rung,
    contenders: Mapping[str, Mapping[str, Any]],
    budget: BudgetName,
    machine: Mapping[str, Any],
    executor: Executor,
) -> Climb:
    """The rung with what can be trained there."""
    if rung.budget(budget) is None:
        return Climb(rung, [], f"the {budget} budget leaves it out")
    cells = rung.cells(contenders)
    configs = {cell.label: configuration(cell, budget, 0, machine) for cell in cells}
    try:
        examples.load_data(configs[BASELINES[0]])
    except DataUnavailable as error:
        return Climb(rung, [], str(error))
    reasons: dict[str, str] = {}
    for label in (one for one in contenders if one not in BASELINES):
        try:
            build(as_tried_here(configs[label], executor))
        except UnsupportedNet as error:
            reasons[label] = str(error)
    able = [cell for cell in cells if cell.label not in reasons]
    has_a_rule = len(able) > len(BASELINES) or set(contenders) == set(BASELINES)
    return Climb(rung, able if has_a_rule else [], reasons=reasons)


def _write(root: Path, ladder: Sequence[Rung], budget: BudgetName, climbs: Sequence[Climb]) -> Assessment:
    """Write and return what is to be said of all runs that there are."""
    planned = {climb.rung.name: climb for climb in climbs}
    reasons = _reasons(root)
    climbed = []
    for rung in ladder:
        here = planned.get(rung.name, Climb(rung, []))
        runs = _runs(root, rung, budget)
        told = {**reasons.get(rung.name, {}), **here.reasons}
        if (runs or told) and rung.budget(budget) is not None:
            none = {rule: why for rule, why in told.items() if rule not in runs}
            climbed.append(Climbed(rung, runs, none, _settings(root / rung.name, runs)))
    there = {one.rung.name: one.runs for one in climbed}
    result: Assessment = {
        "budget": budget,
        "level": LEVEL,
        "rungs": [
            _row(rung, budget, planned.get(rung.name), there.get(rung.name, {}))
            for rung in ladder
            if rung.name in there or rung.name in planned
        ],
        "verdicts": [row for one in climbed for row in verdicts(one, budget)],
        "across": across(climbed),
    }
    records.make_folder(root)
    records.write_json(root / ASSESSMENT, result)
    return result


def _runs(root: Path, rung: Rung, budget: BudgetName) -> dict[str, list[Run]]:
    """The runs of a rung, by rule, the baselines first; what else somebody trained in its folder has no part in it."""
    there = [place for place in records.folders(root / rung.name) if records.exists(place / CONFIG)]
    own = [run for run in map(Run.load, there) if _is_of(run, rung, budget)]
    labels = dict.fromkeys([*BASELINES, *sorted(run.label for run in own)])
    by_label = {label: [run for run in own if run.label == label] for label in labels}
    return {label: runs for label, runs in by_label.items() if runs}


def _settings(folder: Path, rules: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What was chosen for each rule of a rung."""
    places = {rule: folder / TRIALS / rule for rule in rules}
    searched = {rule: place for rule, place in places.items() if records.exists(place / records.SEARCH)}
    best = {rule: records.read_trials(place).best for rule, place in searched.items()}
    return {rule: one["settings"] for rule, one in best.items() if one is not None}


def _is_of(run: Run, rung: Rung, budget: BudgetName) -> bool:
    """Whether a run is called, and trained, as those of a rung are."""
    is_called_so = run.folder.name == f"{run.label}-seed{run.seed}"
    task = (label_of(run.data), label_of(run.net))
    is_so_long = run.config.get("epochs") == epochs(rung.budget(budget))
    return is_called_so and is_so_long and task == (label_of(rung.data), label_of(rung.net))


def _reasons(root: Path) -> dict[str, dict[str, str]]:
    """Why rules had no part in a rung when the file was written that is there."""
    there = read_assessment(root)
    found: dict[str, dict[str, str]] = {}
    for row in there["verdicts"] if there else ():
        if row["reason"] is not None:
            found.setdefault(row["rung"], {})[row["rule"]] = row["reason"]
    return found


def _row(rung: Rung, budget: BudgetName, climb: Climb | None, runs: Mapping[str, list[Run]]) -> RungRow:
    amount = rung.budget(budget) or rung.full
    return {
        "rung": rung.name,
        "title": rung.title,
        "data": rung.data,
        "net": rung.net,
        "trials": amount.tuning.trials if amount.tuning else 0,
        "trial_epochs": amount.tuning.epochs if amount.tuning else 0,
        "seeds": max(map(len, runs.values()), default=amount.seeds),
        "epochs": epochs(amount),
        "left_out": climb.left_out if climb else None,
    }


def _refuse_another(root: Path, budget: BudgetName) -> None:
    """Refuse a packed file, the folder of a single run, and that of an assessment at another budget.

    Raises:
        UserMistake: it is one.
    """
    records.refuse_packed(root)
    if records.exists(root / CONFIG):
        raise UserMistake(f"{root} is the folder of a single run: give another one for the assessment")
    there = read_assessment(root)
    if there is not None and there["budget"] != budget:
        raise UserMistake(
            f"{root} holds an assessment at the {there['budget']} budget: give another folder, or that budget"
        )
