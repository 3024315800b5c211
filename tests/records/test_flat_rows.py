"""Flat rows hold all that the records hold, a column an entry, for spreadsheets and for pandas."""

import csv
import io
import sys

import pytest
from tests.records.test_run_folder import CONFIG, EPOCH, RESULT, write_run

from biograd.errors import UserMistake
from biograd.records import append_line, as_csv, find_runs, frame, result_rows, trial_rows
from biograd.records.trials import Trials

QUANTITY = {"step": 3, "epoch": 1, "quantity": "norm_ratio", "layer": "0.weight", "value": 0.5}
TRIAL = {"rule": "fa", "trial": 0, "seed": 0, "settings": {"rule.scale": 0.5}, "value": None}


@pytest.fixture
def folder(tmp_path):
    scaled = {**CONFIG, "rule": {"name": "fa", "settings": {"scale": 0.5}}, "observe": [], "seed": 4}
    append_line(write_run(tmp_path / "a", result=RESULT) / "diagnostics.jsonl", QUANTITY)
    write_run(tmp_path / "b", config=scaled)
    return tmp_path


def test_a_row_a_run_with_its_result_configuration_and_environment(folder):
    done, begun = result_rows(find_runs(folder), folder)
    assert {key: done[key] for key in ("run", "rule", "data", "net", "seed", "status", "epochs")} == {
        "run": "a",
        "rule": "fa",
        "data": "digits",
        "net": "mlp",
        "seed": 3,
        "status": "done",
        "epochs": 2,
    }
    assert (done["test_accuracy"], done["validation_accuracy"], done["seconds"]) == (0.9, None, 1.5)
    assert (done["config.epochs"], done["config.rule"], done["environment.torch"]) == (2, "fa", "2.13.0")
    assert done["warnings"] == begun["config.observe"] == "[]"
    assert (begun["status"], begun["epochs"], begun["config.rule.scale"]) == ("unfinished", 1, 0.5)


def test_a_run_that_leaves_the_test_set_unread_has_no_entry_of_it(tmp_path):
    write_run(tmp_path / "a", result=RESULT, config={**CONFIG, "read_test": False})
    (row,) = result_rows(find_runs(tmp_path), tmp_path)
    assert [name for name in row if name.startswith("test")] == ["test_reads"]


def test_a_spreadsheet_has_every_column_of_any_row_and_gaps_where_a_row_has_none(folder):
    rows = list(csv.DictReader(io.StringIO(as_csv(result_rows(find_runs(folder), folder)))))
    assert list(rows[0])[:3] == ["run", "rule", "label"]
    names = list(rows[0])
    assert names.index("test_accuracy") < names.index("config.rule")
    assert [row["config.rule.scale"] for row in rows] == ["", "0.5"]
    assert [row["test_accuracy"] for row in rows] == ["0.9", ""]
    assert [row["validation_accuracy"] for row in rows] == ["", ""]


def test_a_row_a_trial_with_its_settings():
    assert trial_rows([Trials({"rule": "fa"}, [TRIAL])]) == [
        {"rule": "fa", "trial": 0, "seed": 0, "settings.rule.scale": 0.5, "value": None}
    ]


@pytest.mark.parametrize(
    ("what", "count", "entry"),
    [("results", 2, "test_accuracy"), ("epochs", 2, "train_loss"), ("diagnostics", 1, "quantity")],
)
def test_pandas_takes_them(folder, what, count, entry):
    pytest.importorskip("pandas")
    table = frame(folder, what)
    assert len(table) == count
    assert {"run", "label", "seed", entry} <= set(table.columns)
    assert frame(folder).set_index("run").loc["a", "test_accuracy"] == 0.9
    assert frame(folder, "epochs").groupby("seed")["train_loss"].mean()[3] == EPOCH["train_loss"]
    assert frame(folder, "trials").empty


def test_what_there_is_no_frame_of_is_refused(folder, monkeypatch):
    with pytest.raises(
        UserMistake, match="no frame of 'runs'; there is results, epochs, diagnostics, trials"
    ):
        frame(folder, "runs")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserMistake, match=r"a frame needs pandas: pip install 'biograd\[frames\]'"):
        frame(folder)
