"""Edited code, and edited data, are another configuration: versions are never mixed."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from biograd.records import find_runs, summarize

OWN = '''
from contextlib import suppress

import numpy as np
import part_of_mine
import torch
from torch import nn

from biograd import Backpropagation
from biograd.data import Classes, DataSet, Preprocessing, Split
from biograd.penalties.base import Penalty
from biograd.training import Observer


class Mine(Backpropagation):
    """A rule."""


def net(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], 8), nn.Tanh(), nn.Linear(8, outputs))


def data(directory, download, seed):
    rows = np.loadtxt("table.csv", delimiter=",", dtype="float32")
    split = Split(torch.tensor(rows[:, :-1]), torch.tensor(rows[:, -1]).long())
    return DataSet("table", split, split, Classes(("no", "yes")), Preprocessing((0.0,), (1.0,)))


class Nothing(Penalty):
    def __init__(self, net):
        super().__init__()

    def add_gradient(self, net):
        pass


class Watch(Observer):
    def notice(self, moment, run):
        return None


def decoder(site):
    return nn.Linear(site.given[0], site.wanted[0])
'''
PLACES = {
    "rule": "--rules mine.py:Mine",
    "net": "--rules bp --net mine.py:net",
    "data": "--rules bp --data mine.py:data",
    "penalty": "--rules bp --penalty mine.py:Nothing",
    "observer": "--rules bp --observe mine.py:Watch",
    "decoder": "--rules dtp --rule.decoder mine.py:decoder",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "part_of_mine", raising=False)  # of another test
    (tmp_path / "part_of_mine.py").write_text("PART = 1\n")
    (tmp_path / "table.csv").write_text("".join(f"{n},{n % 5},{n % 2}\n" for n in range(40)))
    (tmp_path / "mine.py").write_text(OWN)
    return tmp_path


@pytest.fixture
def compare(biograd, blank_figures):
    def call(line, seeds=1):
        common = {"--data": "iris", "--net": "mlp", "--epochs": "1", "--out": "runs"}
        rest = [f"{flag} {value}" for flag, value in common.items() if flag not in line]
        return biograd(f"compare {line} {' '.join(rest)} --seeds {seeds}")

    return call


@pytest.mark.parametrize("line", PLACES.values(), ids=PLACES)
def test_a_finished_run_is_not_joined_by_one_of_an_edited_file(own, compare, line):
    assert compare(line).code == 0
    (own / "mine.py").write_text(OWN + "# edited\n")
    mistake = compare(line, seeds=2).mistake
    assert f"{own}/mine.py has changed since the run in runs/" in mistake
    assert "put the old version back, or give another folder" in mistake
    (own / "mine.py").write_text(OWN)
    assert compare(line, seeds=2).code == 0


def test_nor_by_one_whose_file_imports_an_edited_one(own, compare):
    assert compare(PLACES["rule"]).code == 0
    (own / "part_of_mine.py").write_text("PART = 2\n")
    assert f"{own}/part_of_mine.py has changed" in compare(PLACES["rule"]).mistake


def test_nor_where_a_file_that_was_imported_is_gone(own, compare):
    (own / "mine.py").write_text(
        OWN.replace("import part_of_mine", "with suppress(ImportError): import part_of_mine")
    )
    assert compare(PLACES["rule"]).code == 0
    (own / "part_of_mine.py").unlink()
    assert (
        f"{own}/part_of_mine.py is gone since the run in runs/Mine-seed0" in compare(PLACES["rule"]).mistake
    )


def test_of_files_of_one_name_each_is_known_in_a_copy_of_their_folder(own, compare):
    for name in ("first", "second"):
        (own / "parts" / name).mkdir(parents=True)
        (own / "parts" / name / "__init__.py").write_text(f"PART = {name!r}\n")
    late = OWN.replace("import part_of_mine", "def late():\n    import first, second")
    (own / "parts" / "mine.py").write_text(late)
    assert compare("--rules parts/mine.py:Mine").code == 0
    shutil.copytree(own / "parts", own / "copied")
    assert compare("--rules copied/mine.py:Mine", seeds=2).code == 0
    (own / "copied" / "first" / "__init__.py").write_text("PART = 'edited'\n")
    assert f"{own}/parts/first/__init__.py has changed" in compare("--rules copied/mine.py:Mine").mistake


def test_the_run_is_trained_anew_once_its_folder_is_removed(own, compare):
    assert compare(f"{PLACES['rule']},bp").code == 0
    (own / "mine.py").write_text(OWN + "# edited\n")
    shutil.rmtree(own / "runs" / "Mine-seed0")
    assert compare(f"{PLACES['rule']},bp", seeds=2).code == 0


def test_a_file_that_is_gone_is_told_in_one_line(own, compare):
    assert compare(PLACES["rule"]).code == 0
    (own / "mine.py").unlink()
    assert "there is no file" in compare(PLACES["rule"]).mistake


def test_data_that_has_changed_is_refused(own, compare, biograd):
    assert compare(PLACES["data"]).code == 0
    (own / "table.csv").write_text((own / "table.csv").read_text().replace("0,0,0", "9,9,0", 1))
    assert (
        "the data has other examples than when the run in runs/bp-seed0 began"
        in compare(PLACES["data"], 2).mistake
    )
    assert "the data has other examples" in biograd("robustness runs/bp-seed0 --examples 2").mistake


def test_a_run_whose_code_was_edited_is_not_attacked(own, compare, biograd):
    assert compare(PLACES["rule"]).code == 0
    (own / "mine.py").write_text(OWN + "# edited\n")
    assert "mine.py has changed" in biograd("robustness runs/Mine-seed0 --examples 2").mistake


def test_a_report_shows_two_versions_as_two_rows(own, compare, biograd):
    for version, edited in enumerate((OWN, OWN + "# edited\n")):
        (own / "mine.py").write_text(edited)
        assert (
            biograd(f"train --rule mine.py:Mine --data iris --net mlp --epochs 1 --out all/{version}").code
            == 0
        )
    cells = summarize(find_runs(own / "all"))
    assert [len(cell.runs) for cell in cells] == [1, 1]
    assert all(cell.label.startswith("mine.py=") for cell in cells)
    assert cells[0].label != cells[1].label


def test_versions_are_kept_when_runs_are_packed(own, compare, biograd):
    assert compare(PLACES["rule"]).code == 0
    assert biograd("pack runs").code == 0
    assert compare(f"{PLACES['rule']} --out runs.records.xz").code == 0
    (own / "mine.py").write_text(OWN + "# edited\n")
    assert "mine.py has changed" in compare(f"{PLACES['rule']} --out runs.records.xz").mistake


def test_a_run_that_recorded_no_version_is_kept_as_finished(own, compare):
    assert compare(PLACES["rule"]).code == 0
    record = own / "runs" / "Mine-seed0" / "environment.json"
    older = {key: value for key, value in json.loads(record.read_text()).items() if key != "files"}
    record.write_text(json.dumps(older))
    (own / "mine.py").write_text(OWN + "# edited\n")
    assert compare(PLACES["rule"], seeds=2).code == 0
    (cell,) = summarize(find_runs(own / "runs"))
    assert cell.seeds == [0, 1]
