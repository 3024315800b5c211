import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.tuning.small_search import BUDGET, members

from biograd import records
from biograd.errors import RunFailed, UserMistake
from biograd.executor import Local
from biograd.training.trainer import Trainer
from biograd.tuning import Budget, tune

SCRIPT = Path(__file__).with_name("small_search.py")


def outcome(folder):
    """All that a search came to but how long it took, and where."""
    trials = [
        {key: value for key, value in row.items() if key not in ("seconds", "data")}
        for search in records.find_trials(folder)
        for row in search.rows
    ]
    results = [run.result for run in records.find_runs(folder)]
    untimed = [{k: v for k, v in row.items() if k not in ("seconds", "run")} for row in results]
    return trials, [search.best["trial"] for search in records.find_trials(folder)], untimed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    tune(members(), BUDGET, folder)
    return folder


def test_every_rule_gets_the_same_trials_and_its_best_setting_fresh_seeds(whole):
    trials, best, results = outcome(whole)
    assert [(row["rule"], row["trial"]) for row in trials] == [
        (r, n) for r in ("bp", "dtp") for n in range(5)
    ]
    assert {row["epochs"] for row in trials} == {2}
    assert [(row["rule"], row["seed"]) for row in results] == [("bp", 1), ("bp", 2), ("dtp", 1), ("dtp", 2)]
    for rule, trial in zip(("bp", "dtp"), best, strict=True):
        mine = [row for row in trials if row["rule"] == rule]
        assert mine[trial]["value"] == max(row["value"] for row in mine)
        for run in records.find_runs(whole):
            if run.rule == rule:
                settings = records.flatten(run.config)
                assert {name: settings[name] for name in mine[trial]["settings"]} == mine[trial]["settings"]


def test_only_what_was_chosen_reads_the_test_set(whole):
    trials = [records.Run.load(path.parent) for path in whole.glob("trials/*/*/result.json")]
    assert len(trials) == 10
    assert {run.result["test_reads"] for run in trials} == {0}
    assert {run.result["test_reads"] for run in records.find_runs(whole)} == {1}


@pytest.mark.parametrize("jobs", [2])
def test_a_search_by_several_processes_is_the_same(whole, tmp_path, jobs):
    tune(members(), BUDGET, tmp_path, executor=Local(jobs=jobs))
    assert outcome(tmp_path) == outcome(whole)


def test_four_workers_on_one_folder_of_which_one_is_killed_do_the_same_search(whole, tmp_path):
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    mortal = subprocess.Popen([*command, "--die-after", "8"])
    workers = [subprocess.Popen(command) for _ in range(3)]
    assert mortal.wait(timeout=120) == -9
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0, 0]
    assert outcome(tmp_path) == outcome(whole)


def test_a_search_that_is_stopped_twice_is_the_same(whole, tmp_path, monkeypatch):
    after_step = Trainer._after_step
    for stop in (17, 40):
        left = [stop]

        def step(trainer, left=left):
            after_step(trainer)
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

        monkeypatch.setattr(Trainer, "_after_step", step)
        with pytest.raises(KeyboardInterrupt):
            tune(members(), BUDGET, tmp_path)
    monkeypatch.setattr(Trainer, "_after_step", after_step)
    tune(members(), BUDGET, tmp_path)
    assert outcome(tmp_path) == outcome(whole)


def saved(path, test_targets):
    generator = np.random.default_rng(0)
    inputs, targets = generator.normal(size=(64, 6)), generator.integers(0, 3, 64)
    np.savez(
        path,
        x_train=inputs.astype("float32"),
        y_train=targets,
        x_test=inputs[:16].astype("float32"),
        y_test=test_targets(targets[:16]),
    )
    return f"arrays:{path}"


def test_a_search_cannot_see_the_test_set(tmp_path):
    right = saved(tmp_path / "right.npz", lambda labels: labels)
    wrong = saved(tmp_path / "wrong.npz", lambda labels: labels[::-1].copy())
    for name, data in (("right", right), ("wrong", wrong)):
        tune(members(data=data), BUDGET, tmp_path / name)
    (trials, best, results), (same_trials, same_best, others) = (
        outcome(tmp_path / name) for name in ("right", "wrong")
    )
    assert (trials, best) == (same_trials, same_best)
    for one, other in zip(results, others, strict=True):
        differing = {key for key in one if one[key] != other[key]}
        assert differing <= {"data", "test_loss", "test_accuracy", "test_balanced_accuracy"}
        assert "test_loss" in differing


def test_a_folder_holds_one_search_of_a_rule_to_which_others_may_come(whole, tmp_path):
    one, other = members()
    budget = Budget(trials=1, epochs=1, seeds=1)
    tune([one], budget, tmp_path)
    tune([other], budget, tmp_path)
    assert [search.search["rule"] for search in records.find_trials(tmp_path)] == ["bp", "dtp"]
    for wrong in (Budget(trials=2, epochs=1), Budget(trials=1, epochs=2), Budget(trials=1, epochs=1, seed=4)):
        with pytest.raises(UserMistake, match="holds a search with"):
            tune([one], wrong, tmp_path)


def test_a_search_of_nothing_and_of_one_label_twice_are_refused(tmp_path):
    for wrong in ([], [*members(), *members()]):
        with pytest.raises(UserMistake, match="each with a label of its own"):
            tune(wrong, BUDGET, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_trials_that_diverge_are_not_chosen_and_a_search_of_them_alone_has_failed(tmp_path):
    (wild,) = members(["bp"], optimizer={"name": "sgd", "lr": 3e38})
    with pytest.raises(RunFailed, match="none of 2 trials ended with a value"):
        tune([wild], Budget(trials=2, epochs=1), tmp_path)
    assert {row["status"] for row in records.find_trials(tmp_path)[0].rows} == {"diverged"}
