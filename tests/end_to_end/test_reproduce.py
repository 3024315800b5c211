"""A study as a user types it, from the page that tells how one is written."""

import re
from pathlib import Path

import pytest

from biograd.records import find_runs

PAGE = Path(__file__).parents[2] / "docs" / "studies.md"
STUDY = "reproduce my_study.py:alignment"


@pytest.fixture(autouse=True)
def _study_of_the_page(folder: Path):
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "my_study.py").write_text(block)


def test_a_study_prints_measured_beside_published_and_writes_a_report(biograd, folder: Path):
    ended = biograd(f"{STUDY} --seeds 2 --out s")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[-1] == "s/report.html"
    row = next(line for line in lines if "feedback alignment" in line and "test accuracy" in line)
    assert row.count("±") == 2
    assert "95.00 ± 1.00" in row
    assert "2 of 20 epochs" in row
    assert not any("difference" in line for line in lines)
    assert any("within 5 points" in line and "open: judged at the full budget" in line for line in lines)
    assert [run.folder.name for run in find_runs("s")] == ["bp-seed0", "bp-seed1", "fa-seed0", "fa-seed1"]
    page = (folder / "s" / "report.html").read_text()
    assert "Nobody, an example" in page
    assert "2 of 20 epochs" in page


@pytest.mark.usefixtures("blank_figures")
def test_how_long_it_takes_is_said_before_it_begins_and_not_when_all_is_there(biograd, folder: Path):
    (said,) = biograd(f"{STUDY} --cell digits/bp --seeds 2 --out s").err.splitlines()
    assert re.match(
        r"biograd reproduce: 2 runs with 4 epochs in all, about \d+ s of training, by a few steps", said
    )
    assert biograd(f"{STUDY} --cell digits/bp --seeds 2 --out s").err == ""


def test_the_report_can_be_written_again(biograd, folder: Path):
    biograd(f"{STUDY} --out s")
    page = (folder / "s" / "report.html").read_bytes()
    biograd("report s")
    assert (folder / "s" / "report.html").read_bytes() == page


@pytest.mark.usefixtures("blank_figures")
def test_rows_for_programs_and_what_is_there_is_kept(biograd, folder: Path):
    first = biograd(f"{STUDY} --out s --cell */fa --json").row
    assert (first["study"], first["budget"], first["report"]) == ("alignment", "quick", "s/report.html")
    assert [(row["epochs"], row["of_epochs"], row["difference"]) for row in first["rows"]] == [
        (2, 20, None)
    ] * 3
    assert [row["quantity"] for row in first["rows"]] == [
        "test accuracy",
        "validation accuracy, epoch 2",
        "gradient angle of 1.weight",
    ]
    kept = (folder / "s" / "digits" / "fa-seed0" / "result.json").read_bytes()
    second = biograd(f"{STUDY} --out s --json").row
    assert second["rows"][1:] == first["rows"]
    assert (folder / "s" / "digits" / "fa-seed0" / "result.json").read_bytes() == kept


@pytest.mark.usefixtures("blank_figures")
def test_without_out_the_study_and_its_budget_name_the_folder(biograd, folder: Path):
    assert biograd(f"{STUDY} --cell digits/bp").out.endswith("runs/alignment-quick/report.html\n")


@pytest.mark.usefixtures("blank_figures")
def test_a_study_fails_when_no_run_is_finished(biograd, folder: Path):
    text = (folder / "my_study.py").read_text()
    spoilt = text.replace("COMMON = {", 'COMMON = {"optimizer": {"name": "sgd", "lr": 1e38}, ')
    (folder / "my_study.py").write_text(spoilt)
    ended = biograd(f"{STUDY} --out s")
    assert ended.code == 1
    assert "1 of 1 runs diverged" in ended.out


def test_without_a_study_they_are_listed(biograd, folder: Path):
    assert biograd("reproduce").out.lstrip().startswith("bartunov2018")
    names = [row["name"] for row in biograd("reproduce --json").row["studies"]]
    assert names == [
        "bartunov2018",
        "feedback-family",
        "gait-prop",
        "local-stdp",
        "low-precision",
        "song2021",
    ]


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("reproduce locla-stdp", "unknown study 'locla-stdp': did you mean 'local-stdp'?"),
        ("reproduce --seeds 3", "--seeds needs a STUDY; known: bartunov2018, "),
        (f"{STUDY} --cell digits/fb", "no cell of alignment fits 'digits/fb'; the nearest are digits/"),
        (f"{STUDY} --budget huge", "--budget: invalid choice: 'huge'"),
        (f"{STUDY} --seeds 0", "--seeds: expected a whole number ≥ 1, got '0'"),
        ("reproduce my_study.py:COMMON", "expected a class or function"),
        ("reproduce local-stdp --device gpu --out s", "device got 'gpu'"),
    ],
)
def test_mistakes_are_one_line(biograd, folder: Path, typed, complaint):
    assert complaint in biograd(typed).mistake
    assert not (folder / "s").exists()


@pytest.mark.usefixtures("blank_figures")
def test_an_interrupted_study_says_how_it_goes_on(biograd, folder: Path):
    text = (folder / "my_study.py").read_text()
    (folder / "my_study.py").write_text(text.replace('"rule": rule}', '"rule": "mine.py:Stopped"}'))
    (folder / "stop").write_text("interrupt")
    stopped = biograd(f"{STUDY} --out s")
    assert (stopped.code, stopped.err) == (
        130,
        "biograd reproduce: interrupted; the same command goes on where it stopped\n",
    )
    (folder / "stop").unlink()
    assert biograd(f"{STUDY} --out s --json").row["rows"][0]["seeds"] == 1
