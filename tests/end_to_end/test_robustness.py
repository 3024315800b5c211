"""Attacks on finished runs as a user types them."""

import shutil
from pathlib import Path

import pytest

from biograd import training
from biograd.records import read_measurements

TRAIN = "--data iris --net mlp --net.widths 8 --batch-size 20 --device cpu"
QUICK = "--steps 3 --queries 10 --epsilons 0,0.5"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A comparison of two rules and two seeds, not to be changed."""
    out = tmp_path_factory.mktemp("trained") / "c"
    net = {"name": "mlp", "widths": "8"}
    small = {"data": "iris", "net": net, "batch_size": 20, "epochs": 3, "device": "cpu"}
    training.compare(training.grid(["bp", "shallow"], 2, small), out, progress=False)
    return out


@pytest.fixture
def compared(trained, folder: Path):
    """A working folder with that comparison in the folder ``c``."""
    shutil.copytree(trained, folder / "c")
    return folder


def test_a_comparison_is_attacked_and_reported(biograd, compared):
    ended = biograd(f"robustness c {QUICK}")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith(
        "iris · mlp: accuracy / balanced accuracy in %; 50 test examples; ε in standard dev"
    )
    assert lines[1].split()[:2] == ["rule", "attack"]
    assert any(line.split()[:4] == ["bp", "PGD,", "true", "gradient"] for line in lines)
    assert any("shallow, pgd by the rule's feedback: Shallow has no feedback path" in line for line in lines)
    assert sum("masking" in line and line.startswith("c/") for line in lines) == 4
    assert lines[-1] == "c/report.html"
    page = (compared / "c" / "report.html").read_text()
    assert "Balanced accuracy under attack: iris · mlp" in page


@pytest.mark.usefixtures("blank_figures")
def test_a_program_gets_a_row_a_run_and_the_report(biograd, compared):
    row = biograd(f"robustness c/bp-seed0 c/shallow-seed0 {QUICK} --json").row
    assert [one["run"] for one in row["rows"]] == ["c/bp-seed0", "c/shallow-seed0"]
    assert [one["source"] for one in row["rows"]] == ["shallow/seed0", "bp/seed0"]
    assert row["report"] == "c/robustness/report.html"
    first = row["rows"][0]
    assert {"accuracy", "balanced_accuracy", "logit_scale", "zero_gradients"} == set(first["clean"])
    assert {"attack", "gradient", "epsilon", "accuracy", "balanced_accuracy", "reason"} == set(
        first["rows"][0]
    )
    assert {"masking", "reasons", "checks"} == set(first["verdict"])
    assert first["test_reads"] == 2
    assert "commit" in first["environment"]
    assert read_measurements("c/bp-seed0") == [first]


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize(
    ("runs", "report"),
    [
        ("c/bp-seed0 c/shallow-seed1", "c/robustness/report.html"),
        ("c/bp-seed0 c", "c/report.html"),
        ("c/bp-seed0 --out both", "both/report.html"),
    ],
)
def test_several_runs_are_in_one_report(biograd, compared, runs, report):
    ended = biograd(f"robustness {runs} --attacks fgsm --epsilons 0.1 --examples 9")
    assert ended.out.splitlines()[-1] == report
    assert [path.as_posix() for path in Path().rglob("report.html")] == [report]
    page = Path(report).read_text()
    assert all(rule in page for rule in ("bp", *(["shallow"] if "c/" in report else [])))


@pytest.mark.usefixtures("blank_figures")
def test_every_setting_has_a_flag(biograd, compared):
    flags = (
        "--attacks pgd --gradient true --epsilons 0.1,0.2 --steps 4 --step-size 0.05 --restarts 2 --queries 9"
    )
    row = biograd(
        f"robustness c/bp-seed0 {flags} --examples all --seed 3 --threads 1 --device cpu --json"
    ).row
    assert row["rows"][0]["settings"] == {
        "attacks": ["pgd"],
        "gradients": ["true"],
        "epsilons": [0.1, 0.2],
        "steps": 4,
        "step_size": 0.05,
        "restarts": 2,
        "queries": 9,
        "examples": None,
        "seed": 3,
    }
    assert row["rows"][0]["examples"] == 50


@pytest.mark.usefixtures("blank_figures")
def test_a_run_is_attacked_once_however_often_it_is_named(biograd, compared):
    row = biograd("robustness c/bp-seed0 c/../c/bp-seed0 --attacks fgsm --json").row
    assert [one["test_reads"] for one in row["rows"]] == [2]


@pytest.mark.usefixtures("blank_figures")
def test_runs_that_are_not_done_are_named_and_left_out(biograd, compared):
    (compared / "c" / "bp-seed1" / "result.json").unlink()
    ended = biograd("robustness c --attacks fgsm --json")
    assert len(ended.row["rows"]) == 3
    assert ended.err == "biograd robustness: c/bp-seed1 is left out: the run is unfinished\n"
    mistake = biograd("robustness c/bp-seed1 --attacks fgsm")
    assert mistake.code == 2
    assert "there is no finished run in c/bp-seed1" in mistake.err


@pytest.mark.usefixtures("blank_figures")
def test_a_source_of_another_task_is_refused_before_anything_is_attacked(biograd, compared):
    biograd(f"train --rule bp --epochs 1 --one-vs-rest setosa --out binary {TRAIN}")
    ended = biograd(f"robustness c binary {QUICK} --transfer-from c")
    assert (
        "an attack on binary (iris, setosa against the rest) cannot be made on runs of another task"
        in ended.mistake
    )
    assert read_measurements("c/bp-seed0") == []
    assert (
        biograd(f"robustness c/bp-seed0 {QUICK} --transfer-from c/shallow-seed0 --json").row["rows"][0][
            "source"
        ]
        == "shallow/seed0"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere", "there is no folder nowhere"),
        ("c --epsilons=-0.1", "epsilons are numbers ≥ 0, got -0.1"),
        ("c --epsilons 0.1,x", "--epsilons: expected numbers separated by commas, got '0.1,x'"),
        ("c --attacks deepfool", "attacks: got 'deepfool', expected some of fgsm, pgd, square, transfer"),
        ("c --gradient wrong", "gradients: got 'wrong', expected some of true, rule"),
        ("c --examples some", "--examples: expected a whole number ≥ 1, got 'some'"),
        ("c --step-size 0", "step_size is 0.0, expected a number > 0"),
        ("c --step-size x", "--step-size"),
        ("c --queries 1", "--queries: expected a whole number ≥ 2"),
        ("c --device cuda:9", "device 'cuda:9' is not there"),
        ("c --device gpu", "device got 'gpu'"),
        ("c --transfer-from nowhere", "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line(biograd, compared, words, message):
    assert message in biograd(f"robustness {words}").mistake


def test_without_a_folder_it_asks_for_one(biograd):
    assert "needs RUN" in biograd("robustness").mistake.replace("runs", "RUN")
