"""Runs are packed, read from the file by every command that reads runs, and unpacked, as a user types it."""

import re
from pathlib import Path

import pytest

from biograd.records import find_runs, read_json

COMPARE = "compare --data iris --net mlp --net.widths 8 --epochs 2 --batch-size 20 --rules bp,fa --seeds 2"
PACKED = "c.records.xz"
PAGE = Path(__file__).parents[2] / "docs" / "studies.md"
FIGURE = "theory alignment --examples 4 --features 5 --width 6 --trials 2 --out t"


def records_in(folder):
    files = [path for path in Path(folder).rglob("*.json*") if not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def compared(biograd, folder: Path):
    assert biograd(f"{COMPARE} --out c").code == 0
    return folder


@pytest.fixture
def packed(biograd, compared: Path):
    """A comparison that is there as a packed file alone."""
    assert biograd("pack c").code == 0
    (compared / "c").rename(compared / "before")
    return compared


def test_a_comparison_is_packed_and_comes_back(biograd, compared: Path):
    ended = biograd("pack c")
    assert ended.code == 0
    assert ended.out.startswith(f"{PACKED}: 16 records of 4 runs, ")
    assert "left out, being no records: 4 × .lock, 4 × checkpoint.safetensors, 1 × " in ended.err
    row = biograd("unpack c.records.xz --out again --json").row
    assert row == {"folder": "again", "records": 16}
    assert records_in("again") == records_in("c")
    assert biograd("unpack c.records.xz").out == "c: 16 records\n"


def test_what_is_packed_is_told_to_programs_and_unfinished_runs_to_people(biograd, compared: Path):
    (compared / "c" / "fa-seed1" / "result.json").unlink()
    row = biograd("pack c --out d.records.xz --json").row
    assert (row["file"], row["records"], row["runs"], row["unfinished"]) == ("d.records.xz", 15, 4, 1)
    assert row["left_out"]["checkpoint.safetensors"] == 4
    assert "are unfinished, and stay so in the file: 1" in biograd("pack c --out d.records.xz").err
    assert [run.status for run in find_runs("d.records.xz")] == ["done", "done", "done", "unfinished"]


def test_a_report_of_a_packed_file_is_that_of_the_folder(biograd, packed: Path):
    row = biograd(f"report {PACKED} --title T --json").row
    assert row == {"report": "c/report.html", "runs": 4, "cells": 2, "left_out": 0}
    biograd("report before --title T")
    assert (packed / "c" / "report.html").read_bytes() == (packed / "before" / "report.html").read_bytes()
    figures = sorted(path.name for path in (packed / "c" / "figures").iterdir())
    assert figures == sorted(path.name for path in (packed / "before" / "figures").iterdir())
    assert biograd(f"report {PACKED}/bp-seed0 --json").row["report"] == "c/bp-seed0/report.html"
    assert biograd("report . --json").row["runs"] == 8
    assert biograd(f"unpack {PACKED}").code == 0  # beside the page


def test_a_comparison_reads_what_is_finished_and_trains_nothing_into_the_file(biograd, packed: Path):
    before = (packed / PACKED).read_bytes()
    rows = biograd(f"{COMPARE} --out {PACKED} --json").row["rows"]
    assert rows == [
        read_json(f"before/{rule}-seed{seed}/result.json") for rule in ("bp", "fa") for seed in (0, 1)
    ]
    assert "holds a run with another epochs" in biograd(f"{COMPARE} --epochs 3 --out {PACKED}").mistake
    for command in (
        f"{COMPARE} --seeds 3 --out {PACKED}",
        f"train --rule bp --data iris --net mlp --out {PACKED}/new",
    ):
        assert (
            "lies in a packed file, which is only read: biograd unpack c.records.xz"
            in biograd(command).mistake
        )
    assert (packed / PACKED).read_bytes() == before


def test_a_finished_run_is_resumed_and_an_unfinished_one_refused(biograd, packed: Path):
    assert biograd(f"resume {PACKED}/bp-seed0 --json").row == read_json("before/bp-seed0/result.json")
    (packed / "before" / "bp-seed0" / "result.json").unlink()
    biograd("pack before")
    assert (
        "which is only read: biograd unpack before.records.xz"
        in biograd("resume before.records.xz/bp-seed0").mistake
    )


def test_the_configuration_of_a_packed_run_is_that_of_another(biograd, packed: Path):
    assert biograd(f"train --config {PACKED}/fa-seed1/config.json --out new").code == 0
    assert read_json("new/config.json") == read_json("before/fa-seed1/config.json")


def test_a_packed_run_has_no_weights_to_attack(biograd, packed: Path):
    for command in (
        f"robustness {PACKED}",
        "robustness before --attacks transfer --transfer-from c.records.xz",
    ):
        mistake = biograd(command).mistake
        assert re.search(r"c.records.xz/bp-seed\d is packed, and weights are not: give the folder", mistake)


def test_a_study_goes_by_the_runs_in_a_packed_file(biograd, folder: Path):
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "my_study.py").write_text(block)
    study = "reproduce my_study.py:alignment"
    trained = biograd(f"{study} --out s --json").row
    page = (folder / "s" / "report.html").read_bytes()
    assert b"Nobody, an example" in page
    biograd("pack s")
    again = biograd(f"{study} --out s.records.xz --json").row
    assert again == trained
    assert "only read" in biograd(f"{study} --out s.records.xz --seeds 3").mistake
    assert (
        "holds the study alignment at the quick budget"
        in biograd(f"{study} --budget full --out s.records.xz").mistake
    )
    (folder / "s" / "report.html").unlink()
    biograd("report s.records.xz")
    assert (folder / "s" / "report.html").read_bytes() == page


def test_simulations_are_read_from_a_packed_file(biograd, folder: Path):
    row = biograd(f"{FIGURE} --json").row
    biograd("pack t")
    again = biograd(f"{FIGURE}.records.xz --json").row
    assert again == {**row, "record": row["record"].replace("t/", "t.records.xz/")}
    assert "only read" in biograd(f"{FIGURE}.records.xz --seed 1").mistake


def test_a_figure_of_packed_simulations_is_drawn_beside_the_file(biograd, folder: Path):
    words = (
        "theory convergence --examples 4 --features 5 --width 6 --normalize --steps 400 --trials 2 --out t"
    )
    biograd(words)
    biograd("pack t")
    (folder / "t").rename(folder / "before")
    assert biograd(f"{words}.records.xz --json").row["figure"] == "t/convergence.svg"
    for name in ("convergence.svg", "convergence.json", "report.html"):
        assert (folder / "t" / name).read_bytes() == (folder / "before" / name).read_bytes()


@pytest.mark.parametrize("command", ["report", "unpack", "resume", f"{COMPARE} --out", "robustness"])
@pytest.mark.parametrize("content", [b"", b"\xfd7zXZ\x00 and so on", b"[]"])
def test_a_file_that_is_no_packed_file_is_told_in_one_line(biograd, folder: Path, command, content):
    (folder / "bad.records.xz").write_bytes(content)
    assert "bad.records.xz is no packed file, or damaged: " in biograd(f"{command} bad.records.xz").mistake
