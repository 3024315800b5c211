"""Runs of a study are attacked once, when they are done, and the table shows what its plan measured."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from biograd.records import read_measurements
from biograd.robustness import AttackSettings
from biograd.studies.attacks import Masking, StrongestAttack, UnderAttack
from biograd.studies.reproduce import reproduce
from biograd.studies.study import Group, RobustnessPlan, Shown

SMALL = AttackSettings(epsilons=(0, 0.5), attacks=("fgsm", "transfer"), gradients=("true", "rule"))
PLAN = RobustnessPlan("a/*", full=SMALL, quick=SMALL)


def recorded(run, rows, *, settings=SMALL, masking="not seen", source=None):
    settings = json.loads(json.dumps(settings.to_json()))
    row = {"key": str(settings), "source": source, "settings": settings, "rows": rows}
    return dataclasses.replace(run, measurements=[{**row, "verdict": {"masking": masking}}])


def attacked(attack, gradient, epsilon, accuracy, balanced=None):
    row = {"attack": attack, "gradient": gradient, "epsilon": epsilon, "accuracy": accuracy}
    return {**row, "balanced_accuracy": balanced, "reason": None}


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        (UnderAttack(PLAN, "fgsm", 0.5), 0.6),
        (UnderAttack(PLAN, "fgsm", 0.5, balanced=True), 0.55),
        (UnderAttack(PLAN, "fgsm", 0.5, gradient="rule"), 0.7),
        (UnderAttack(PLAN, "fgsm", 0.0), 0.9),
        (UnderAttack(PLAN, "transfer", 0.5), 0.8),
        (UnderAttack(PLAN, "square", 0.5), None),
        (UnderAttack(PLAN, "fgsm", 0.1), None),
    ],
)
def test_a_row_of_the_measurement(make_run, tmp_path, quantity, value):
    run = make_run(0, 0.9, folder=tmp_path)
    assert quantity.of(run) is None
    rows = [
        attacked("fgsm", "true", 0.0, 0.9),
        attacked("fgsm", "true", 0.5, 0.6, 0.55),
        attacked("fgsm", "rule", 0.5, 0.7),
        attacked("transfer", "transfer:bp/seed0", 0.5, 0.8),
    ]
    run = recorded(run, rows)
    assert quantity.of(run) == value


def test_the_strongest_attack_is_that_which_leaves_least_right_transferred_examples_aside(make_run, tmp_path):
    run = make_run(0, 0.9, folder=tmp_path)
    assert StrongestAttack(PLAN, 0.5).of(run) is None
    rows = [
        attacked("fgsm", "true", 0.0, 0.1, 0.1),
        attacked("fgsm", "true", 0.5, 0.6, 0.55),
        attacked("fgsm", "rule", 0.5, 0.5, 0.65),
        attacked("square", "none", 0.5, 0.7, 0.6),
        attacked("pgd", "rule", 0.5, None),
        attacked("transfer", "transfer:bp/seed0", 0.5, 0.2, 0.2),
    ]
    run = recorded(run, rows)
    assert StrongestAttack(PLAN, 0.5).of(run) == 0.5
    assert StrongestAttack(PLAN, 0.5, balanced=True).of(run) == 0.55
    assert StrongestAttack(PLAN, 0.1).of(run) is None


def test_what_was_measured_by_other_settings_is_not_taken(make_run, tmp_path):
    run = make_run(0, 0.9, folder=tmp_path)
    run = recorded(run, [attacked("fgsm", "true", 0.5, 0.1)], settings=AttackSettings(epsilons=(0, 0.5)))
    assert UnderAttack(PLAN, "fgsm", 0.5).of(run) is None
    assert Masking(PLAN).of(run) is None


@pytest.mark.parametrize(("masking", "value"), [("suspected", 1.0), ("not seen", 0.0), ("not decided", 0.0)])
def test_a_verdict_on_masking_is_a_share_of_the_runs(make_run, tmp_path, masking, value):
    run = make_run(0, 0.9, folder=tmp_path)
    run = recorded(run, [], masking=masking)
    assert Masking(PLAN).of(run) == value
    assert Masking(PLAN, masking).of(run) == 1.0


def measured(root: Path) -> dict[str, list]:
    return {path.parent.name: read_measurements(path.parent) for path in sorted(root.rglob("result.json"))}


@pytest.fixture
def attacked_study(make_study):
    study = make_study(robustness=(PLAN,))
    shown = (*study.groups[0].shows, Shown(UnderAttack(PLAN, "fgsm", 0.5)), Shown(Masking(PLAN)))
    groups = tuple(type(group)(group.name, group.cells, shown) for group in study.groups)
    return make_study(robustness=(PLAN,), groups=groups)


def test_runs_are_attacked_as_planned_and_from_each_other(attacked_study, tmp_path):
    outcome = reproduce(attacked_study, tmp_path)
    found = measured(tmp_path)
    assert {name: len(rows) for name, rows in found.items()} == {"bp-seed0": 1, "fa-seed0": 1}
    assert [rows[0]["source"] for rows in found.values()] == ["fa/seed0", "bp/seed0"]
    under_attack = [row for row in outcome["rows"] if row["quantity"] == "accuracy, fgsm ε 0.5"]
    assert [row["mean"] is not None for row in under_attack] == [True, True]


class Elsewhere:
    """An executor that works on copies, as another process does, and does what came last first."""

    is_here = False
    is_on_this_machine = True

    def map(self, work, items, needs):
        for place, item in reversed(list(enumerate(items))):
            yield place, work(copy.deepcopy(item))


def test_runs_attacked_by_an_executor_reach_the_same(attacked_study, tmp_path):
    one = reproduce(attacked_study, tmp_path / "one", progress=False)
    shutil.copytree(
        tmp_path / "one", tmp_path / "two", ignore=shutil.ignore_patterns("robustness.json", "study.json")
    )
    assert one == reproduce(attacked_study, tmp_path / "two", executor=Elsewhere(), progress=False)
    assert all(len(rows) == 1 for rows in measured(tmp_path / "two").values())


def test_a_run_of_another_task_beside_it_is_no_reason_to_attack_a_run_again(make_study, make_cell, tmp_path):
    cells = (make_cell("a/bp", one_vs_rest=0), make_cell("a/other", one_vs_rest=1))
    groups = (Group("all", "*", (Shown(UnderAttack(PLAN, "fgsm", 0.5)),)),)
    study = make_study(cells=cells, groups=groups, claims=(), robustness=(PLAN,))
    for _ in range(2):
        reproduce(study, tmp_path)
    assert [rows[0]["test_reads"] for rows in measured(tmp_path).values()] == [2, 2]


def test_no_run_is_attacked_twice(attacked_study, tmp_path):
    reproduce(attacked_study, tmp_path)
    before = measured(tmp_path)
    reproduce(attacked_study, tmp_path)
    assert measured(tmp_path) == before


def test_a_run_is_attacked_again_when_there_is_another_to_transfer_from(attacked_study, tmp_path):
    reproduce(attacked_study, tmp_path, pattern="a/fa")
    assert [rows[0]["source"] for rows in measured(tmp_path).values()] == [None]
    reproduce(attacked_study, tmp_path, pattern="a/*")
    assert [rows[-1]["source"] for rows in measured(tmp_path).values()] == ["fa/seed0", "bp/seed0"]
