import dataclasses
import json
import multiprocessing
import statistics
import threading
import time

import pytest

from biograd.errors import RunFailed, UserMistake
from biograd.executor import Local
from biograd.theory import published, simulations
from biograd.theory.settings import SimulationSettings
from biograd.theory.simulations import Simulation, run
from biograd.theory.summary import rows, settings_of
from biograd.theory.two_layer import CURVES, simulate

TINY = SimulationSettings(
    activation="tanh", width=6, examples=4, features=5, regularization=(0.0, 0.1), steps=20
)


def test_a_record_holds_what_its_trials_did_and_under_which_setting(tmp_path):
    simulation = Simulation(TINY, 3, follow=8)
    (record,) = run([simulation], tmp_path)
    assert json.loads((tmp_path / simulation.file_name).read_text()) == record
    outcomes = simulate(TINY, range(3), follow=8, chunk=3)
    assert [row["cosine"] for row in record["outcomes"]] == [outcome.cosine for outcome in outcomes]
    assert record["outcomes"][0]["curves"]["steps"] == [0, 8, 16, 20]
    assert record["outcomes"][0]["curves"]["loss"][-1] == pytest.approx(outcomes[0].loss, rel=1e-5)
    assert settings_of(record) == TINY
    assert record["config"]["trials"] == 3
    assert record["config"]["rate"] == 0.1
    assert record["config"]["stopping"] == {"least": 20, "every": 20, "change": 1e-3, "most": 20}
    assert record["environment"]["threads"] == 1
    assert record["seconds"] > 0


def test_a_finished_simulation_is_not_made_again_and_the_others_are(tmp_path, monkeypatch):
    made = []

    def counted(settings, trials, **rest):
        made.append((settings.width, len(trials)))
        return simulate(settings, trials, **rest)

    monkeypatch.setattr(simulations, "simulate", counted)
    first, second = Simulation(TINY, 2), Simulation(dataclasses.replace(TINY, width=7), 2)
    before = run([first], tmp_path)
    assert run([first, second], tmp_path)[:1] == before
    assert made == [(6, 2), (7, 2)]


def test_a_simulation_that_was_stopped_leaves_nothing_and_the_finished_stay(tmp_path, monkeypatch):
    def stopped(settings, trials, **rest):
        if settings.width == 6 and 1 in trials:
            raise KeyboardInterrupt
        return simulate(settings, trials, **rest)

    monkeypatch.setattr(simulations, "simulate", stopped)
    monkeypatch.setattr(simulations, "trials_at_once", lambda settings: 1)
    wide = Simulation(dataclasses.replace(TINY, width=7), 2)  # the longest is first
    with pytest.raises(KeyboardInterrupt):
        run([Simulation(TINY, 2), wide], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [wide.file_name]


def test_processes_and_one_process_give_the_same_records(tmp_path, monkeypatch):
    given = [Simulation(TINY, 3), Simulation(dataclasses.replace(TINY, activation="relu"), 2)]
    monkeypatch.setattr(simulations, "trials_at_once", lambda settings: 1)
    alone, together = (run(given, tmp_path / str(jobs), executor=Local(jobs=jobs)) for jobs in (1, 2))
    assert [row["outcomes"] for row in together] == [row["outcomes"] for row in alone]


LONG = [Simulation(dataclasses.replace(TINY, steps=10**9, seed=seed), 1) for seed in range(2)]


def test_a_process_that_is_killed_fails_the_run_in_words(tmp_path):
    def kill():
        while not multiprocessing.active_children():
            time.sleep(0.05)
        multiprocessing.active_children()[0].kill()

    threading.Thread(target=kill).start()
    with pytest.raises(RunFailed, match="killed, perhaps for want of memory: fewer jobs"):
        run(LONG, tmp_path, executor=Local(jobs=2))
    assert multiprocessing.active_children() == []


def test_who_leaves_early_does_not_wait_for_what_is_at_work(tmp_path):
    def stop(done):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([Simulation(TINY, 1), LONG[0]], tmp_path, executor=Local(jobs=2), tell=stop)
    assert multiprocessing.active_children() == []


def test_trials_are_told_those_of_finished_cells_included(tmp_path):
    told = []
    run([Simulation(TINY, 2)], tmp_path)
    run([Simulation(TINY, 2), Simulation(TINY, 3)], tmp_path, tell=told.append)
    assert told == [2, 5]


def test_configurations_have_files_of_their_own():
    names = {
        Simulation(TINY, 2).file_name,
        Simulation(TINY, 3).file_name,
        Simulation(TINY, 2, follow=3).file_name,
        Simulation(dataclasses.replace(TINY, seed=1), 2).file_name,
        Simulation(dataclasses.replace(TINY, regularization=(0.1,)), 2).file_name,
    }
    assert len(names) == 5
    assert all(name.startswith("tanh-6-fa-") for name in names)


@pytest.mark.parametrize("record", [{"config": {}, "outcomes": []}, {"config": Simulation(TINY, 2).config}])
def test_a_record_of_another_configuration_or_without_outcomes_is_refused(tmp_path, record):
    simulation = Simulation(TINY, 2)
    (tmp_path / simulation.file_name).write_text(json.dumps(record))
    with pytest.raises(UserMistake, match="remove it, and its trials are simulated again"):
        run([simulation], tmp_path)


@pytest.mark.parametrize("given", [{"trials": 0}, {"trials": 1, "follow": 0}])
def test_a_simulation_has_trials_and_points_apart(given):
    with pytest.raises(UserMistake, match="must be at least 1, got 0"):
        Simulation(TINY, **given)


def outcome(regularization, cosine, **rest):
    blank = {
        "steps": 10,
        "capped": False,
        "diverged": False,
        "loss": 1.0,
        "curves": {name: [] for name in CURVES},
    }
    return {"trial": 0, "regularization": regularization, "cosine": cosine, **blank, **rest}


def test_a_curve_has_fifty_points_up_to_the_least_number_of_steps_unless_asked():
    of_steps = {
        steps: Simulation(dataclasses.replace(TINY, steps=steps), 1).gap for steps in (1, 50, 51, 101)
    }
    assert of_steps == {1: 1, 50: 1, 51: 2, 101: 3}
    assert Simulation(TINY, 1, follow=7).gap == 7


def record_of(settings, outcomes):
    return {"config": {**dataclasses.asdict(settings), "trials": 2, "follow": 1}, "outcomes": outcomes}


def test_rows_are_means_over_trials_beside_the_published():
    settings = SimulationSettings(activation="linear", width=800, regularization=(0.0, 0.2))
    found = rows(
        record_of(
            settings,
            [
                outcome(0.0, 0.05, steps=11000, loss=2.0),
                outcome(0.2, 0.70),
                outcome(0.0, 0.07, steps=13000, capped=True, loss=4.0),
                outcome(0.2, None, diverged=True),
            ],
        )
    )
    sd = statistics.stdev([0.05, 0.07])
    assert found[0] == {
        "activation": "linear",
        "width": 800,
        "regularization": 0.0,
        "method": "fa",
        "units": "published",
        "trials": 2,
        "cosine_mean": pytest.approx(0.06),
        "cosine_sd": pytest.approx(sd),
        "loss_mean": 3.0,
        "loss_sd": pytest.approx(2**0.5),
        "steps": 12000,
        "capped": 1,
        "diverged": 0,
        "published_mean": 0.059,
        "published_sd": 0.032,
        "published_loss": None,
        "deviations": pytest.approx(0.001 / 0.032),
        "predicted": 50 / 800,
        "standard_error": pytest.approx(sd / 2**0.5),
    }
    assert (found[1]["cosine_mean"], found[1]["cosine_sd"], found[1]["diverged"]) == (0.70, None, 1)
    assert (found[1]["published_mean"], found[1]["predicted"]) == (0.757, None)


def test_rows_of_which_nothing_was_published_say_so():
    settings = SimulationSettings(activation="linear", width=800, regularization=(0.2,), learning_rate=1e-4)
    (row,) = rows(record_of(settings, [outcome(0.2, None, diverged=True)]))
    assert row["cosine_mean"] is row["published_mean"] is row["deviations"] is row["steps"] is None
    assert row["diverged"] == 1


def test_the_published_table_is_found_by_activation_width_and_strength():
    assert published.cosine(SimulationSettings(activation="tanh", width=12800), 0.001) == (0.396, 0.023)
    assert published.cosine(SimulationSettings(activation="relu", width=200), 0.2) == (0.858, 0.061)
    assert published.cosine(SimulationSettings(activation="relu", width=200), 0.3) is None
    assert published.cosine(SimulationSettings(activation="relu", width=201), 0.2) is None
    assert published.cosine(SimulationSettings(activation="sigmoid", width=200), 0.0) is None
    assert published.regularizations("tanh") == (0.0, 0.001, 0.002, 0.005)
    assert published.regularizations("sigmoid") == (0.0,)
    for by_strength in published.COSINES.values():
        assert {len(row) for row in by_strength.values()} == {len(published.WIDTHS)}
        assert all(0 <= mean < 1 and 0 < sd < 0.2 for row in by_strength.values() for mean, sd in row)


def test_published_losses_are_those_after_so_many_steps_at_one_width():
    early = SimulationSettings(activation="tanh", width=3200, steps=5000)
    assert published.early_loss(early, 0.005) == 7.5e-3
    assert published.early_loss(dataclasses.replace(early, steps=4000), 0.005) is None
    assert published.early_loss(dataclasses.replace(early, width=1600), 0.005) is None
    assert published.early_loss(early, 0.5) is None
