from dataclasses import replace

import pytest
import torch

from biograd import UserMistake
from biograd.data.seeded import seeded
from biograd.records import Run, find_runs
from biograd.robustness import AttackSettings, measure_run, pgd
from biograd.robustness.scores import is_right
from biograd.robustness.transfer import candidates, find_source
from biograd.robustness.victim import Victim
from biograd.training.restored import restored


def source_of(runs, victim, *others):
    likely = candidates(Run.load(runs / victim), [Run.load(runs / other) for other in others])
    found = find_source(restored(runs / victim), likely)
    return found and found.folder.name


def test_backpropagation_and_the_same_seed_come_first(runs):
    names = ["shallow-0", "bp-1", "bp-0", "virginica"]
    likely = candidates(Run.load(runs / "fa-0"), [Run.load(runs / name) for name in names])
    assert [run.folder.name for run in likely] == ["bp-0", "bp-1", "shallow-0"]


def test_a_run_with_other_test_examples_is_passed_by(runs):
    """Iris has no official split: another seed tests other flowers."""
    assert source_of(runs, "fa-0", "bp-1", "bp-0") == "bp-0"
    assert source_of(runs, "fa-0", "bp-1") is None


def test_other_test_examples_are_told_by_themselves_as_is_another_standardisation(runs):
    victim, (run,) = restored(runs / "fa-0"), [Run.load(runs / "bp-0")]
    for changes in (
        {"test": replace(victim.dataset.test, inputs=victim.dataset.test.inputs + 1)},
        {"preprocessing": replace(victim.dataset.preprocessing, mean=(0.0,))},
    ):
        other = replace(victim, dataset=replace(victim.dataset, **changes))
        assert find_source(other, [run]) is None
    assert find_source(victim, [run]) is not None


def test_a_run_is_not_attacked_from_itself(runs):
    assert source_of(runs, "bp-0", "bp-0") is None
    assert source_of(runs, "bp-0", "bp-0", "fa-0") == "fa-0"


def test_runs_of_another_task_are_refused(runs):
    with pytest.raises(
        UserMistake, match=r"\(iris\) cannot be made on runs of another task \(iris, virginica ag"
    ):
        candidates(Run.load(runs / "fa-0"), [Run.load(runs / "virginica")])
    with pytest.raises(UserMistake, match="another task"):
        measure_run(runs / "virginica", AttackSettings(attacks=["transfer"]), transfer_from=[runs / "bp-0"])


def test_unfinished_runs_are_no_source(runs):
    (runs / "bp-0" / "result.json").unlink()
    assert "bp-0" not in [run.folder.name for run in candidates(Run.load(runs / "fa-0"), find_runs(runs))]


def test_without_other_runs_there_is_nothing_to_refuse(runs):
    assert candidates(Run.load(runs / "fa-0"), []) == []


def test_examples_are_made_on_the_other_run_by_its_true_gradient(runs):
    settings = AttackSettings(attacks=["transfer"], epsilons=[0.5], examples=None)
    (row,) = measure_run(runs / "fa-0", settings, transfer_from=[runs / "bp-0"])["rows"]
    victim, source = (Victim(restored(runs / name), None, 0) for name in ("fa-0", "bp-0"))
    assert torch.equal(victim.x, source.x)
    x, y = victim.x[victim.clean], victim.y[victim.clean]
    attacked = pgd(source.predict, x, y, 0.5, generator=seeded(0, 0))
    left = is_right(victim.predict(attacked), y).sum().item() / len(victim.y)
    own = pgd(victim.predict, x, y, 0.5, generator=seeded(0, 0))
    assert row["gradient"] == "transfer:bp/seed0"
    assert row["accuracy"] == pytest.approx(left)
    assert left > is_right(victim.predict(own), y).sum().item() / len(victim.y)
