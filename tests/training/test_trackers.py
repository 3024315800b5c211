"""TensorBoard and MLflow hold what the records hold, once, also of runs that were stopped and went on."""

import importlib.util
import json
import math
import socket
import warnings
from collections import Counter

import pytest

from biograd import records
from biograd.errors import RunFailed, UserMistake
from biograd.training import resume, train
from biograd.training.observers import checkpoints

EPOCH = {
    "train_loss": "loss/train",
    "train_accuracy": "accuracy/train",
    "validation_loss": "loss/validation",
    "validation_accuracy": "accuracy/validation",
    "validation_balanced_accuracy": "balanced_accuracy/validation",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
}
TEST = {
    "test_loss": "loss/test",
    "test_accuracy": "accuracy/test",
    "test_balanced_accuracy": "balanced_accuracy/test",
}


@pytest.fixture(autouse=True)
def checkpoint_at_every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoints, "MINIMUM_GAP", 0.0)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """One database for all of these tests, as making it takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def client(database):
    from biograd.training.observers.mlflow import _connected

    return _connected(database)


@pytest.fixture
def tracked(make_config, database):
    def make(**flags):
        trackers = ["tensorboard", {"name": "mlflow", "uri": database}]
        return make_config(**{"track": trackers, "diagnostics_every": 4, "checkpoint_every": 2, **flags})

    return make


def expected(folder):
    """(tag, step) to value, from the records of a run."""
    run = records.Run.load(folder)
    found = {(EPOCH[key], row["step"]): row[key] for row in run.metrics for key in EPOCH}
    found |= {(tag, run.result["steps"]): run.result[key] for key, tag in TEST.items()}
    for row in run.diagnostics:
        if row["layer"] is not None and row["value"] is not None and math.isfinite(row["value"]):
            found[f"{row['quantity']}/{row['layer']}", row["step"]] = row["value"]
    return {key: value for key, value in found.items() if value is not None}


def events(folder):
    """Every point that TensorBoard shows, as often as it does."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = EventAccumulator(str(folder / "tensorboard"))
        reader.Reload()
    tags = reader.Tags()["scalars"]
    return [(tag, event.step, event.value) for tag in tags for event in reader.Scalars(tag)]


def points(client, folder):
    """Every point that MLflow has, as often as it has."""
    run = client.get_run(records.read_json(folder / "mlflow.json")["run_id"])
    histories = {tag: client.get_metric_history(run.info.run_id, tag) for tag in run.data.metrics}
    return run, [(tag, one.step, one.value) for tag, history in histories.items() for one in history]


def check(found, folder, *, but=()):
    """Each number of the records is there once, and no other."""
    wanted = expected(folder)
    assert Counter((tag, step) for tag, step, _ in found) == dict.fromkeys(wanted, 1)
    for tag, step, value in found:
        if tag not in but:
            assert value == pytest.approx(wanted[tag, step], rel=1e-6), (tag, step)


@pytest.mark.parametrize("step", [None, 1, 3, 6, 8, 9, 12])
def test_both_hold_what_the_records_hold_once_wherever_a_run_was_stopped(
    step, tracked, stop_after, client, tmp_path
):
    if step is not None:
        stop_after(step)
        with pytest.raises(KeyboardInterrupt):
            train(tracked(rule="fa"), tmp_path)
        assert points(client, tmp_path)[0].info.status == "KILLED"
        stop_after(None)
        before = records.read_json(tmp_path / "mlflow.json")
        resume(tmp_path)
        assert records.read_json(tmp_path / "mlflow.json") == before
    else:
        train(tracked(rule="fa"), tmp_path)
    check(events(tmp_path), tmp_path)
    run, found = points(client, tmp_path)
    check(found, tmp_path, but=["seconds"])  # which alone differs when an epoch is done again
    assert run.info.status == "FINISHED"


def test_what_was_written_and_is_not_in_a_checkpoint_is_not_shown_twice(
    tracked, client, tmp_path, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # after the trackers were told of the epoch, before the checkpoint
        patch.setattr(checkpoints.Checkpoints, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tracked(checkpoint_every=0), tmp_path)
    resume(tmp_path)
    check(events(tmp_path), tmp_path)
    check(points(client, tmp_path)[1], tmp_path, but=["seconds"])


def test_mlflow_has_the_settings_and_the_folder(tracked, client, tmp_path):
    train(tracked(rule={"name": "fa", "scale": "0.5"}), tmp_path)
    run, _ = points(client, tmp_path)
    config = records.flatten(records.read_json(tmp_path / "config.json"))
    assert run.data.params == {key: str(value) for key, value in config.items()}
    assert run.data.params["rule.scale"] == "0.5"
    assert run.info.run_name == "fa-seed0"
    assert run.data.tags["biograd.run"] == str(tmp_path)


def test_tensorboard_has_the_configuration_and_the_settings_beside_what_they_reached(tracked, tmp_path):
    train(tracked(rule="fa", track="tensorboard"), tmp_path)
    content = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    assert b"configuration/text_summary" in content
    assert b"_hparams_/session_start_info" in content
    assert [path.name for path in (tmp_path / "tensorboard").iterdir() if path.is_dir()] == []


def test_runs_stand_under_the_experiment_that_is_named(tracked, client, database, tmp_path):
    mine = {"name": "mlflow", "uri": database, "experiment": "mine"}
    for name in ("first", "second"):
        train(tracked(track=[mine], diagnostics_every=0), tmp_path / name)
    ids = {points(client, tmp_path / name)[0].info.experiment_id for name in ("first", "second")}
    assert ids == {client.get_experiment_by_name("mine").experiment_id}


def test_a_run_that_diverges_has_failed(tracked, client, tmp_path):
    with pytest.raises(RunFailed):
        train(tracked(optimizer="sgd", lr=1e38, diagnostics_every=0), tmp_path)
    assert points(client, tmp_path)[0].info.status == "FAILED"


def test_no_bit_of_a_run_depends_on_them(tracked, make_config, bits, tmp_path):
    train(tracked(rule="brsf"), tmp_path / "tracked")
    train(tracked(rule="brsf", track=[]), tmp_path / "alone")
    assert bits(tmp_path / "tracked") == bits(tmp_path / "alone")


def test_an_unread_test_set_is_in_none_of_them(tracked, client, tmp_path):
    train(tracked(read_test=False), tmp_path)
    tags = {tag for tag, *_ in events(tmp_path)} | {tag for tag, *_ in points(client, tmp_path)[1]}
    assert not [tag for tag in tags if "test" in tag]
    assert b"accuracy/test" not in b"".join(
        path.read_bytes() for path in (tmp_path / "tensorboard").iterdir()
    )


def test_where_mlflow_writes_is_said_by_setting_environment_or_working_folder(
    database, make_config, client, tmp_path, monkeypatch
):
    from biograd.training.observers.mlflow import MLflow

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert MLflow()._uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    assert MLflow(uri="http://localhost:5000")._uri == "http://localhost:5000"
    train(make_config(track="mlflow"), tmp_path / "run")
    assert points(client, tmp_path / "run")[0].info.status == "FINISHED"
    assert not (tmp_path / "mlflow.db").exists()


def test_a_server_that_does_not_answer_is_said_before_the_run_begins(make_config, tmp_path):
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(UserMistake, match=f"cannot begin: no MLflow server answers at {uri}: start one"):
            train(make_config(track={"name": "mlflow", "uri": uri}), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_run_that_mlflow_has_no_more_is_said_in_a_line(tracked, stop_after, tmp_path):
    stop_after(1)
    with pytest.raises(KeyboardInterrupt):
        train(tracked(track=tracked().track[1:]), tmp_path)
    stop_after(None)
    there = json.loads((tmp_path / "mlflow.json").read_text())
    records.write_json(tmp_path / "mlflow.json", {**there, "run_id": "0" * 32})
    with pytest.raises(
        UserMistake, match=r"cannot begin: .*not found.*; remove .*mlflow\.json to begin another"
    ):
        resume(tmp_path)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_package_that_is_missing_is_named_before_anything_is_written(
    name, make_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserMistake, match=rf"{name}, which is not installed: pip install 'biograd\[track\]'"):
        train(make_config(track=name), tmp_path / "run")
    assert not (tmp_path / "run").exists()
