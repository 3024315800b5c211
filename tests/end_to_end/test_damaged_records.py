"""Whatever a record file holds: no command ends in a traceback, and nothing of it runs in a page.

The number of files is small here; ``BIOGRAD_DAMAGED=400 pytest tests/end_to_end/test_damaged_records.py`` tries more.
"""

import io
import itertools
import json
import os
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from tests.end_to_end.damaged import Damaged, damaged

import biograd.report as report_package
from biograd.cli import main
from biograd.errors import UserMistake
from biograd.records import Run, read_study

COUNT = int(os.environ.get("BIOGRAD_DAMAGED", "14"))
SEED = 7
OF_A_RUN = (
    "config.json",
    "environment.json",
    "metrics.jsonl",
    "diagnostics.jsonl",
    "result.json",
    "robustness.json",
)
FILES = [Path("study.json"), *(Path("bp-seed0") / name for name in OF_A_RUN)]
COMPARE = "--rules bp,fa --seeds 1 --data iris --net mlp --net.widths 4 --epochs 2 --diagnostics-every 3"
ATTACK = "--attacks fgsm --epsilons 0,0.1 --examples 8"
STUDY = {
    **{"study": "small", "title": "Small", "reference": "Nobody.", "budget": "full"},
    "rows": [
        {
            **{"group": "bp", "quantity": "test accuracy", "unit": "fraction", "mean": 0.5, "sd": 0.1},
            **{"seeds": 2, "cells": 1, "of_cells": 1, "runs": 2, "unfinished": 0, "diverged": 0},
            **{"published": 0.6, "published_sd": 0.1, "difference": -0.1, "source": "Nobody"},
        }
    ],
    "claims": [
        {
            **{"claim": "it holds", "group": "bp", "beside": None, "quantity": "test accuracy"},
            **{"unit": "fraction", "at_least": 0.4, "mean": 0.5, "sd": 0.1, "seeds": 2, "met": True},
            **{"open": None, "caveat": {"quantity": "masking", "unit": "fraction", "mean": 0.5}},
        }
    ],
}


class Page(HTMLParser):
    """What could do something in a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts, self.handlers = 0, list[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.handlers += [
            name for name, value in attrs if name.startswith("on") or "script:" in (value or "")
        ]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison under attack with a study's table, all of it whole."""
    folder = tmp_path_factory.mktemp("recorded") / "runs"
    assert main(["compare", *COMPARE.split(), "--out", str(folder)]) == 0
    assert main(["robustness", str(folder), *ATTACK.split()]) == 0
    (folder / "study.json").write_text(json.dumps(STUDY))
    shutil.rmtree(folder / "figures")
    return folder


def complaint(folder: Path, file: Path) -> str | None:
    """Why a file is no record; None where it is one."""
    try:
        read_study(folder) if file.name == "study.json" else Run.load(folder / "bp-seed0")
    except UserMistake as mistake:
        return str(mistake)
    return None


@pytest.fixture(scope="module")
def damages(recorded: Path) -> list[Damaged]:
    """So many damages; a few of them are far apart, to be of many kinds."""
    apart = 1 if COUNT >= 200 else 23
    return list(itertools.islice(damaged(recorded, FILES, SEED), 0, COUNT * apart, apart))


@pytest.fixture
def case(request: pytest.FixtureRequest, recorded: Path, damages: list[Damaged], tmp_path: Path):
    """A folder in which one file is damaged, and how."""
    one, folder = damages[request.param], tmp_path / "runs"
    shutil.copytree(recorded, folder)
    (folder / one.file).unlink()
    if one.content is None:
        (folder / one.file).mkdir()
    else:
        (folder / one.file).write_bytes(one.content)
    return folder, one


def save_quickly(figure: Figure, file: io.BytesIO, *, format: str, metadata: dict) -> None:
    """The SVG of a figure shows what the PDF does, which takes twice as long."""
    if format == "svg":
        SAVE(figure, file, format=format, metadata=metadata)


def save_nothing(figure: Figure, file: io.BytesIO, **about: object) -> None:
    """For a page of whole records alone."""
    file.write(b'<svg xmlns="http://www.w3.org/2000/svg"/>')


SAVE = Figure.savefig


@pytest.mark.parametrize("case", range(COUNT), indirect=True)
def test_no_command_ends_in_a_traceback_and_nothing_runs_in_a_page(case, biograd, monkeypatch):
    folder, one = case
    wrong = complaint(folder, one.file)
    monkeypatch.setattr(Figure, "savefig", save_nothing if wrong else save_quickly)
    report = biograd("report", folder)
    page = folder / "report.html"
    assert report.code == 0, report.err
    told = "left out: " in report.err and str(folder / one.file) in report.err
    assert bool(wrong) == told == ("left-out" in page.read_text())
    assert all(line.startswith("biograd report: warning: ") for line in report.err.splitlines())
    harmless(page)

    monkeypatch.setattr(
        report_package, "write_report", lambda *_: page
    )  # the same folder would give the same page
    for command in (
        f"compare {COMPARE} --out {folder}",
        f"resume {folder / 'bp-seed0'}",
        f"robustness {folder / 'bp-seed0'} {ATTACK}",
    ):
        ended = biograd(command)
        assert ended.code in (0, 1, 2), command
        if ended.code == 2:
            assert ended.mistake


def harmless(page: Path) -> None:
    """A page in which our own script alone runs, and figures that are XML."""
    content = Page(page.read_text())
    assert (content.scripts, content.handlers) == (1, [])
    for figure in (page.parent / "figures").glob("*.svg"):
        assert "script" not in {element.tag.rpartition("}")[2] for element in ET.parse(figure).iter()}
