"""A test set that is left unread, and what is tracked and observed, as a user types it."""

import json
import re
from pathlib import Path

import pytest

from biograd.records import Run, find_runs
from biograd.report.table import Table
from biograd.report.tables import csv

COMPARE = "compare --data iris --net mlp --net.widths 8 --epochs 2 --batch-size 20 --out c"
OBSERVER = """
from typing import Annotated

from annotated_types import Gt

from biograd.training.observers import EpochEnded, Observer


class Patience(Observer):
    def __init__(self, *, epochs: Annotated[int, Gt(0)] = 1):
        self.epochs = epochs

    def notice(self, moment, run):
        match moment:
            case EpochEnded(row={"epoch": self.epochs}):
                return "that is enough"
"""
"""Asks to stop after so many epochs."""


def figures_of_the_test_set(path):
    """What a file says of the test set but that it was not read: names of its scores, and numbers under them."""
    text = path.read_bytes().decode("utf-8", "replace")
    if path.suffix == ".json":
        text = re.sub(r'"(test_\w+|tested_weights)": (null|0)\b', "", text)
    text = re.sub(r"read[_-]test|of_test|test_reads", "", text)
    return re.findall(r"(?i)\btest(?:ed)?[ _/-](?:set|loss|accuracy|balanced|weights)\S*", text)


@pytest.mark.parametrize("binary", ["", " --one-vs-rest 0"], ids=["classes", "one against the rest"])
def test_a_comparison_that_leaves_the_test_set_unread_leaves_no_figure_of_it(biograd, folder: Path, binary):
    ended = biograd(
        f"{COMPARE} --rules bp,fa,shallow --seeds 2 --diagnostics-every 3 --read-test false "
        f"--track tensorboard{binary}"
    )
    assert (ended.code, ended.err) == (0, "")
    assert "test" not in ended.out
    assert "validation" in ended.out
    assert "Δ bp" in ended.out
    files = [path for path in Path("c").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".json", ".jsonl", ".html", ".svg", ".pdf", ".safetensors"}
    assert {str(path): found for path in files if (found := figures_of_the_test_set(path))} == {}
    assert "test" not in csv(Table.of(find_runs("c")))
    assert "alidation accuracy" in (folder / "c" / "report.html").read_text()
    assert any(path.name.startswith("validation-accuracy") for path in files)
    for run in find_runs("c"):
        scores = ("test_loss", "test_accuracy", "test_balanced_accuracy", "tested_weights")
        assert {run.result[key] for key in scores} == {None}
        assert run.result["test_reads"] == 0
        assert run.result["validation_accuracy"] is not None


def test_the_same_comparison_that_reads_it_is_found_out(biograd, folder: Path):
    biograd(f"{COMPARE} --rules bp --seeds 1")
    places = {path.name for path in Path("c").rglob("*") if path.is_file() and figures_of_the_test_set(path)}
    assert places >= {"result.json", "report.html"}


def test_a_single_run_says_what_it_has(biograd, folder: Path):
    ended = biograd("train --rule bp --data iris --net mlp --epochs 1 --read-test false --out r")
    assert "test" not in ended.out
    assert "validation" in ended.out
    row = biograd("resume r --json").row
    assert (row["test_accuracy"], row["test_reads"]) == (None, 0)


def test_one_comparison_does_not_mix_both(biograd, folder: Path):
    (folder / "c.toml").write_text("[rules.bp]\nread_test = false\n[rules.fa]\n")
    assert "one budget: read_test is" in biograd("compare --config c.toml --data iris --net mlp").mistake


def test_its_runs_are_not_attacked(biograd, folder: Path):
    biograd(f"{COMPARE} --rules bp --seeds 1")
    biograd("train --rule bp --data iris --net mlp --epochs 1 --read-test false --out c/unread")
    mistake = biograd("robustness c --attacks fgsm --epsilons 0.1").mistake
    assert "c/unread was trained with read_test = false, and attacks read the test set" in mistake
    assert not list(Path("c").rglob("robustness.json"))


def test_an_observer_is_named_and_set_by_flags_and_goes_on_in_a_resumed_run(biograd, folder: Path):
    (folder / "own.py").write_text(OBSERVER)
    words = (
        "train --rule bp --data iris --net mlp --observe own.py:Patience --observe.Patience.epochs 2 --out r"
    )
    ended = biograd(words)
    assert "stopped by Patience: that is enough" in ended.out
    run = Run.load("r")
    assert (run.result["epochs"], run.result["stopped"]) == (2, "Patience: that is enough")
    assert run.config["observe"] == [{"name": f"{folder}/own.py:Patience", "settings": {"epochs": 2}}]
    assert "has no setting 'epoch'" in biograd(words.replace("epochs", "epoch") + "2").mistake
    assert "--observe.epochs does not say whose" in biograd(f"{words} --observe.epochs 2").mistake


def test_trackers_are_named_with_commas_or_one_by_one(biograd, folder: Path):
    store = f"sqlite:///{folder}/own.db"
    words = "train --rule bp --data iris --net mlp --epochs 1"
    for number, flags in enumerate(["--track tensorboard,mlflow", "--track tensorboard --track mlflow"]):
        ended = biograd(f"{words} --out r{number} {flags} --track.mlflow.uri {store}")
        assert (ended.code, ended.err) == (0, "")
        assert json.loads((folder / f"r{number}" / "mlflow.json").read_text())["uri"] == store
        assert list((folder / f"r{number}" / "tensorboard").iterdir())
    assert "unknown observer 'mlflw'" in biograd(f"{words} --out r2 --track mlflw").mistake


def test_an_executor_of_ones_own_does_the_runs(biograd, folder: Path):
    (folder / "own.py").write_text(
        "class Backwards:\n"
        "    is_here = False\n"
        "    is_on_this_machine = True\n"
        "    def __init__(self, *, shout: bool = False):\n"
        "        self.shout = shout\n"
        "    def map(self, work, items, needs):\n"
        "        for place, item in reversed(list(enumerate(items))):\n"
        "            print('DOING' if self.shout else 'doing', place)\n"
        "            yield place, work(item)\n"
    )
    ended = biograd(f"{COMPARE} --rules bp,fa --seeds 1 --engine own.py:Backwards --engine.shout yes --json")
    assert ended.out.splitlines()[:2] == ["DOING 1", "DOING 0"]
    assert [row["rule"] for row in ended.row["rows"]] == ["bp", "fa"]
    assert (
        "has no setting 'jobs'" in biograd(f"{COMPARE} --rules bp --engine own.py:Backwards --jobs 2").mistake
    )
