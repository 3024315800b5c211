"""Training a study: where runs go, what is kept, and what is refused before anything is trained."""

import dataclasses
import json
from pathlib import Path

import pytest

from biograd.errors import DataUnavailable, UserMistake
from biograd.records import find_runs, find_trials, read_json
from biograd.robustness import AttackSettings
from biograd.studies.quantities import AtEnd, BestEpoch
from biograd.studies.reproduce import reproduce
from biograd.studies.study import Budget, Claim, Group, RobustnessPlan, Shown, Tuning


def folders(root: Path) -> list[str]:
    return [run.folder.relative_to(root).as_posix() for run in find_runs(root)]


def test_each_run_has_the_folder_of_its_cell_and_the_budget_of_its_name(make_study, tmp_path):
    reproduce(make_study(), tmp_path / "quick")
    assert folders(tmp_path / "quick") == ["a/bp-seed0", "a/fa-seed0"]
    outcome = reproduce(make_study(), tmp_path / "full", budget="full")
    assert folders(tmp_path / "full") == [
        f"{task}/{rule}-seed{seed}" for task in "ab" for rule in ("bp", "fa") for seed in (0, 1)
    ]
    assert {run.config["epochs"] for run in find_runs(tmp_path / "quick")} == {1}
    assert {run.config["epochs"] for run in find_runs(tmp_path / "full")} == {2}
    assert [row["seeds"] for row in outcome["rows"]] == [2, 2]
    assert outcome["claims"][0]["met"] is not None


def test_the_outcome_is_left_beside_the_runs(make_study, tmp_path):
    outcome = reproduce(make_study(), tmp_path)
    assert read_json(tmp_path / "study.json") == json.loads(json.dumps(outcome))
    assert (outcome["study"], outcome["budget"]) == ("small", "quick")


def test_what_is_left_to_train_is_announced_before_it_is(make_study, tmp_path):
    said = []

    def hear(estimate):
        said.append((estimate.runs, estimate.epochs, folders(tmp_path)))
        assert estimate.seconds > 0

    reproduce(make_study(), tmp_path, budget="full", pattern="a/*", seeds=1, announce=hear)
    reproduce(make_study(), tmp_path, budget="full", pattern="a/*", seeds=1, announce=hear)
    reproduce(make_study(), tmp_path, budget="full", pattern="a/*", announce=hear)
    assert said == [(2, 4, []), (2, 4, ["a/bp-seed0", "a/fa-seed0"])]


def test_of_tuned_cells_trials_and_results_are_announced_together_and_once(make_study, make_cell, tmp_path):
    tuning = Budget(seeds=2, epochs=3, tuning=Tuning(trials=4, epochs=1))
    cells = (
        dataclasses.replace(make_cell("a/bp", validation_fraction=0.2), full=tuning),
        make_cell("a/fa", rule="fa"),
    )
    study, said = make_study(cells=cells), []
    for seeds in (1, None):
        reproduce(study, tmp_path, budget="full", seeds=seeds, announce=said.append)
    assert [(one.runs, one.epochs) for one in said] == [(4 + 1 + 1, 4 + 3 + 2), (2, 5)]
    chosen = {run.seed: run.config["optimizer"] for run in find_runs(tmp_path) if run.rule == "bp"}
    (trials,) = find_trials(tmp_path)
    assert chosen[0] == chosen[1]
    assert chosen[0]["settings"]["lr"] == trials.best["settings"]["optimizer.lr"]
    assert {row["seed"] for row in trials.rows} == {1000}


def test_what_is_there_is_kept_and_counted_and_more_is_added(make_study, tmp_path):
    first = reproduce(make_study(), tmp_path, budget="full", pattern="a/*", seeds=1)
    assert [(row["cells"], row["seeds"]) for row in first["rows"]] == [(1, 1), (1, 1)]
    written = (tmp_path / "a" / "bp-seed0" / "result.json").stat().st_mtime_ns
    second = reproduce(make_study(), tmp_path, budget="full", pattern="b/bp", seeds=3)
    assert folders(tmp_path) == ["a/bp-seed0", "a/fa-seed0", "b/bp-seed0", "b/bp-seed1", "b/bp-seed2"]
    assert [(row["cells"], row["runs"], row["seeds"]) for row in second["rows"]] == [(2, 4, 1), (1, 1, 1)]
    assert (tmp_path / "a" / "bp-seed0" / "result.json").stat().st_mtime_ns == written


def test_a_stopped_study_goes_on(make_study, tmp_path, monkeypatch):
    def interrupted(places, **_):
        for place in list(places)[:3]:
            train_all({place: places[place]})
        raise KeyboardInterrupt

    from biograd.studies import cells as module

    train_all = module.train_all
    with monkeypatch.context() as patched:
        patched.setattr(module, "train_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reproduce(make_study(), tmp_path, budget="full")
    assert folders(tmp_path) == [
        "a/bp-seed0",
        "a/fa-seed0",
        "b/bp-seed0",
    ]  # every cell's first seed comes first
    (tmp_path / "a" / "bp-seed0" / "result.json").unlink()
    outcome = reproduce(make_study(), tmp_path, budget="full")
    assert [row["seeds"] for row in outcome["rows"]] == [2, 2]


def test_a_run_that_diverges_is_counted_and_the_others_go_on(make_study, make_cell, tmp_path):
    spoilt = make_cell("a/fa", rule="fa", optimizer={"name": "sgd", "lr": 1e38})
    cells = (make_cell("a/bp"), spoilt)
    outcome = reproduce(make_study(cells=cells), tmp_path)
    assert [(row["seeds"], row["diverged"]) for row in outcome["rows"]] == [(1, 0), (0, 1)]


def test_a_cell_that_changed_is_not_mixed_with_what_it_was(make_study, make_cell, tmp_path):
    reproduce(make_study(), tmp_path)
    changed = (make_cell("a/bp", batch_size=20), make_cell("a/fa", rule="fa", one_vs_rest=0))
    for pattern in ("a/bp", "a/fa"):
        with pytest.raises(
            UserMistake, match=r"a/bp-seed0 holds a run with another .*batch_size.*, one_vs_rest"
        ):
            reproduce(make_study(cells=changed), tmp_path, pattern=pattern)


def test_a_folder_holds_one_study_at_one_budget(make_study, tmp_path):
    reproduce(make_study(), tmp_path)
    with pytest.raises(UserMistake, match="holds the study small at the quick budget"):
        reproduce(make_study(), tmp_path, budget="full")
    with pytest.raises(UserMistake, match="holds the study small at the quick budget"):
        reproduce(make_study(name="other"), tmp_path)


def test_a_pattern_that_fits_nothing_gets_the_nearest_names(make_study, tmp_path):
    with pytest.raises(UserMistake, match=r"no cell of small fits 'a/bq'; the nearest are a/bp, "):
        reproduce(make_study(), tmp_path / "new", pattern="a/bq")
    with pytest.raises(UserMistake, match="the quick budget leaves out 'b/bp': --budget full trains it"):
        reproduce(make_study(), tmp_path / "new", pattern="b/bp")
    assert not (tmp_path / "new").exists()


def test_where_a_run_is_trained_goes_over_the_cell(make_study, tmp_path):
    reproduce(make_study(), tmp_path, machine={"data_dir": str(tmp_path)})
    assert {run.config["data_dir"] for run in find_runs(tmp_path)} == {str(tmp_path)}


def test_what_a_study_shows_of_a_test_set_that_is_left_unread_is_refused(make_study, make_cell, tmp_path):
    cells = (make_cell("a/bp", read_test=False), make_cell("a/fa", rule="fa"))
    words = r"study 'small' shows test accuracy of 'a/bp', whose runs leave the test set unread"
    with pytest.raises(UserMistake, match=words):
        reproduce(make_study(cells=cells), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    reproduce(make_study(cells=cells), tmp_path / "new", pattern="a/fa")


def test_so_is_a_best_epoch_of_runs_that_read_it_once(make_study, make_cell, tmp_path):
    shown = (Shown(BestEpoch("test_accuracy")),)
    parts = {"groups": (Group("bp", "*/bp", shown),), "claims": ()}
    words = r"shows test accuracy, best epoch .* of 'a/bp', whose runs read the test set once: .*every-epoch"
    with pytest.raises(UserMistake, match=words):
        reproduce(make_study(cells=(make_cell("a/bp"),), **parts), tmp_path)
    cells = (make_cell("a/bp", read_test="every-epoch"),)
    (row,) = reproduce(make_study(cells=cells, **parts), tmp_path)["rows"]
    assert (row["quantity"], row["seeds"]) == ("test accuracy, best epoch on the test set", 1)


def test_so_are_attacks_on_it_and_claims_about_it_and_the_rest_is_shown(make_study, make_cell, tmp_path):
    cells = (make_cell("a/bp", read_test=False),)
    validated = (Group("bp", "*/bp", (Shown(AtEnd("validation_accuracy")),)),)
    shown = {"cells": cells, "groups": validated, "claims": ()}
    plan = RobustnessPlan("a/*", full=AttackSettings(epsilons=(0.1,)), quick=AttackSettings(epsilons=(0.1,)))
    with pytest.raises(UserMistake, match="shows accuracy under attack of 'a/bp'"):
        reproduce(make_study(**shown, robustness=(plan,)), tmp_path / "new")
    claim = Claim("bp learns", "bp", AtEnd("test_accuracy"), at_least=0.5)
    with pytest.raises(UserMistake, match="shows test accuracy of 'a/bp'"):
        reproduce(make_study(**{**shown, "claims": (claim,)}), tmp_path / "new")
    (row,) = reproduce(make_study(**shown), tmp_path / "new")["rows"]
    assert (row["quantity"], row["seeds"]) == ("validation accuracy", 1)


def test_cells_whose_data_is_not_there_are_left_out_with_a_line(make_study, make_cell, tmp_path):
    cells = (
        make_cell("a/bp"),
        make_cell("b/bp", data=f"folder:{tmp_path}/none"),
        make_cell("a/fa", rule="fa"),
    )
    words = r"left out are 'b/bp': .*none does not exist: name the folder"
    with pytest.warns(UserWarning, match=words):
        outcome = reproduce(make_study(cells=cells), tmp_path / "new")
    assert [(row["group"], row["cells"], row["of_cells"]) for row in outcome["rows"]] == [
        ("bp", 1, 2),
        ("fa", 1, 1),
    ]
    with pytest.raises(DataUnavailable, match="none does not exist"):
        reproduce(make_study(cells=cells), tmp_path / "other", pattern="b/bp")


def test_its_runs_can_be_tracked(make_study, tmp_path):
    reproduce(make_study(), tmp_path, machine={"track": {"tensorboard": {}}})
    assert len(list(tmp_path.rglob("tensorboard"))) == 2
