"""A run's folder reads back as it was written, and what is no run is refused in one line."""

import re

import pytest

from biograd.errors import UserMistake
from biograd.records import Run, append_line, find_runs, search, write_json

CONFIG = {
    "rule": {"name": "fa", "settings": {}},
    "data": {"name": "digits", "settings": {}},
    "net": {"name": "mlp", "settings": {}},
    "seed": 3,
    "epochs": 2,
}
EPOCH = {"epoch": 1, "step": 10, "train_loss": 0.5, "train_accuracy": 0.8, "seconds": 1.5}
RESULT = {
    **{
        "rule": "fa",
        "data": "digits",
        "net": "mlp",
        "seed": 3,
        "epochs": 2,
        "status": "done",
        "reason": None,
    },
    **{"train_loss": 0.5, "train_accuracy": 0.8, "validation_loss": None, "validation_accuracy": None},
    **{"test_loss": 0.6, "test_accuracy": 0.9, "test_reads": 1, "tested_weights": "last", "seconds": 1.5},
    **{"parameters": 100, "steps": 20, "warnings": [], "run": "runs/fa"},
}


def write_run(folder, *, result=None, config=CONFIG):
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    write_json(folder / "environment.json", {"torch": "2.13.0"})
    append_line(folder / "metrics.jsonl", EPOCH)
    if result is not None:
        write_json(folder / "result.json", result)
    return folder


def test_a_finished_run_reads_back(tmp_path):
    run = Run.load(write_run(tmp_path / "a", result=RESULT))
    assert (run.rule, run.data, run.net, run.seed, run.status) == ("fa", "digits", "mlp", 3, "done")
    assert run.config == CONFIG
    assert run.environment == {"torch": "2.13.0"}
    assert run.metrics == [EPOCH]
    assert run.diagnostics == []
    assert run.result == RESULT


def test_a_run_without_a_result_is_unfinished(tmp_path):
    run = Run.load(write_run(tmp_path / "a"))
    assert (run.result, run.status, run.epochs_done) == (None, "unfinished", 1)


def test_a_run_stopped_right_after_its_configuration_loads(tmp_path):
    write_json(tmp_path / "config.json", CONFIG)
    run = Run.load(tmp_path)
    assert (run.environment, run.metrics, run.status) == ({}, [], "unfinished")


def test_runs_are_found_recursively_and_sorted(tmp_path):
    for name in ("b/seed1", "a", "b/seed0"):
        write_run(tmp_path / name)
    (tmp_path / "empty").mkdir()
    found = [run.folder.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)]
    assert found == ["a", "b/seed0", "b/seed1"]


def test_a_folder_that_is_itself_a_run_is_found(tmp_path):
    assert [run.folder for run in find_runs(write_run(tmp_path / "a"))] == [tmp_path / "a"]


def test_a_folder_without_runs_has_none(tmp_path):
    assert find_runs(tmp_path) == []


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(UserMistake, match="there is no folder"):
            find_runs(path)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserMistake, match=r"is no run's folder: it has no config.json"):
        Run.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rule": "fa"}, "rule is 'fa', expected a dictionary"),
        ({"net": {"name": 3}}, "net.name is 3, expected a string"),
        ({"data": None}, "data is None, expected a dictionary"),
        ({"seed": 1.5}, "seed is 1.5, expected an integer"),
        ({"rule": {"name": "fa", "settings": []}}, r"rule.settings is \[\], expected a dictionary"),
    ],
)
def test_a_configuration_of_something_else_is_refused_and_named(tmp_path, change, complaint):
    write_json(tmp_path / "config.json", CONFIG | change)
    with pytest.raises(UserMistake, match=rf"config.json: {complaint}; restore the file or remove"):
        Run.load(tmp_path)


def test_a_result_without_status_is_refused_and_named(tmp_path):
    result = {key: value for key, value in RESULT.items() if key != "status"}
    with pytest.raises(UserMistake, match=r"result.json: status is missing"):
        Run.load(write_run(tmp_path / "a", result=result))


def test_a_corrupted_record_is_refused_and_named(tmp_path):
    folder = write_run(tmp_path / "a", result=RESULT)
    (folder / "metrics.jsonl").write_text("{\n{}\n")
    with pytest.raises(UserMistake, match=r"metrics.jsonl line 1: not valid JSON"):
        Run.load(folder)


def test_what_a_later_version_has_added_is_kept(tmp_path):
    more = {"of_a_later_version": {"a": [1]}}
    folder = write_run(tmp_path / "a", result=RESULT | more, config=CONFIG | more)
    run = Run.load(folder)
    assert (run.config, run.result) == (CONFIG | more, RESULT | more)


def test_a_damaged_run_is_left_out_with_a_warning_that_names_its_file(tmp_path):
    good, damaged = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    (damaged / "environment.json").write_text('{"torch": 2}')
    complaint = (
        r"environment.json: torch is 2, expected a string; restore the file or remove the run's folder"
    )
    with pytest.warns(UserWarning, match=f"left out: .*{complaint}"):
        runs, left_out = search(tmp_path)
    assert [run.folder for run in runs] == [good]
    (line,) = left_out
    assert re.search(f"^{re.escape(str(damaged))}/{complaint}$", line)


def test_where_no_run_can_be_read_the_first_is_the_mistake(tmp_path):
    (write_run(tmp_path / "a") / "config.json").write_text("[]")
    with pytest.raises(UserMistake, match=r"a/config.json: expected a JSON object, got list"):
        find_runs(tmp_path)


def test_a_run_is_made_of_what_its_files_hold_wherever_they_lie(tmp_path):
    contents = {"config.json": CONFIG, "metrics.jsonl": [EPOCH], "result.json": RESULT}
    run = Run.of(tmp_path / "nowhere", contents)
    loaded = Run.load(write_run(tmp_path / "a", result=RESULT))
    assert (run.config, run.metrics, run.result) == (loaded.config, loaded.metrics, loaded.result)
    assert (run.environment, run.diagnostics, run.measurements) == ({}, [], [])


@pytest.mark.parametrize(
    "name", ["config.json", "environment.json", "metrics.jsonl", "result.json", "robustness.json"]
)
def test_a_folder_in_place_of_a_record_is_a_record_that_cannot_be_read(name, tmp_path):
    folder = write_run(tmp_path / "a", result=RESULT)
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(UserMistake, match=rf"cannot read .*a/{name}: Is a directory"):
        Run.load(folder)
