"""Comparisons, the demo and reports as a user types them."""

from pathlib import Path

import pytest

from biograd.cli import demo
from biograd.cli.compare import settings_by_rule
from biograd.records import Run, find_runs

COMPARE = "compare --data iris --net mlp --net.widths 8 --epochs 2 --batch-size 20 --out c"


def test_a_comparison_prints_the_spread_and_writes_a_report(biograd, folder: Path):
    ended = biograd(f"{COMPARE} --rules bp,fa,shallow --seeds 2")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[-1] == "c/report.html"
    for rule in ("bp", "fa", "shallow"):
        row = next(line for line in lines if line.strip().startswith(f"{rule} "))
        assert row.count("±") >= 2
    assert [run.folder.name for run in find_runs("c")] == [
        f"{rule}-seed{seed}" for rule in ("bp", "fa", "shallow") for seed in (0, 1)
    ]
    assert "<html" in (folder / "c" / "report.html").read_text()


@pytest.mark.usefixtures("blank_figures")
def test_calling_it_again_keeps_goes_on_and_adds(biograd, folder: Path):
    biograd(f"{COMPARE} --rules bp,fa --seeds 1")
    kept = (folder / "c" / "bp-seed0" / "result.json").read_bytes()
    (folder / "c" / "fa-seed0" / "result.json").unlink()
    ended = biograd(f"{COMPARE} --rules bp,fa --seeds 2 --json")
    assert [(row["rule"], row["seed"]) for row in ended.row["rows"]] == [
        ("bp", 0),
        ("bp", 1),
        ("fa", 0),
        ("fa", 1),
    ]
    assert ended.row["report"] == "c/report.html"
    assert (folder / "c" / "bp-seed0" / "result.json").read_bytes() == kept
    assert Run.load("c/fa-seed0").status == "done"


@pytest.mark.usefixtures("blank_figures")
def test_a_penalty_holds_for_all_rules_and_is_in_the_report(biograd, folder: Path):
    penalty = "--penalty decay --penalty.strength 0.1 --penalty.weights 2.*"
    ended = biograd(f"{COMPARE} --rules bp,fa --seeds 1 {penalty}")
    assert (ended.code, ended.err) == (0, "")
    assert [run.config["penalty"]["settings"] for run in find_runs("c")] == 2 * [
        {"strength": 0.1, "weights": ["2.*"]}
    ]
    page = (folder / "c" / "report.html").read_text()
    assert "penalty.strength" in page
    assert "--penalty decay --penalty.strength 0.1 --penalty.weights" in page


@pytest.mark.usefixtures("blank_figures")
def test_seeds_are_counted_from_the_first(biograd, folder: Path):
    rows = biograd(f"{COMPARE} --rules bp --seeds 2 --seed 5 --json").row["rows"]
    assert [row["seed"] for row in rows] == [5, 6]


@pytest.mark.usefixtures("blank_figures")
def test_other_settings_are_not_mixed_into_a_comparison(biograd, folder: Path):
    biograd(f"{COMPARE} --rules bp --seeds 1")
    assert (
        "holds a run with another epochs (2 there, 3 here)"
        in biograd(f"{COMPARE} --rules bp --seeds 1 --epochs 3").mistake
    )
    assert [run.folder.name for run in find_runs("c")] == ["bp-seed0"]


@pytest.mark.usefixtures("blank_figures")
def test_each_rule_gets_its_own_settings(biograd, folder: Path):
    biograd(f"{COMPARE} --rules fa,usf,bp --seeds 1 --rule.fa.scale 0.5 --rule.usf.scale=2")
    settings = {run.rule: run.config["rule"]["settings"] for run in find_runs("c")}
    assert settings == {"fa": {"scale": 0.5}, "usf": {"scale": 2.0}, "bp": {}}
    biograd("compare --data iris --net mlp --epochs 1 --rules fa --rule.scale 3 --seeds 1 --out single")
    assert Run.load("single/fa-seed0").config["rule"]["settings"] == {"scale": 3.0}


@pytest.mark.usefixtures("blank_figures")
def test_a_rule_from_a_file_beside_ours(biograd, folder: Path):
    line = f"{COMPARE} --rules bp,mine.py:Scaled --seeds 1 --rule.mine.py:Scaled.factor 2 --json"
    rows = biograd(line).row["rows"]
    assert [row["rule"] for row in rows] == ["bp", "Scaled"]
    assert Run.load("c/Scaled-seed0").config["rule"]["settings"] == {"factor": 2.0}


@pytest.mark.usefixtures("blank_figures")
def test_one_run_that_diverges_does_not_fail_the_others(biograd, folder: Path):
    line = f"{COMPARE} --optimizer sgd --seeds 1 --rules bp,mine.py:Scaled"
    ended = biograd(f"{line} --rule.mine.py:Scaled.factor 1e38")
    assert ended.code == 0
    assert ended.out.count("1 of 1 diverged") == 1


@pytest.mark.usefixtures("blank_figures")
def test_a_comparison_fails_when_no_run_is_finished(biograd, folder: Path):
    ended = biograd(f"{COMPARE} --optimizer sgd --seeds 1 --rules bp,shallow --lr 1e38")
    assert ended.code == 1
    assert ended.out.count("1 of 1 diverged") == 2


@pytest.mark.usefixtures("blank_figures")
def test_without_out_the_task_names_the_folder(biograd, folder: Path):
    line = COMPARE.replace(" --out c", "")
    assert biograd(f"{line} --rules bp --seeds 1 --one-vs-rest 0").out.endswith(
        "runs/compare-iris-0-mlp/report.html\n"
    )


@pytest.mark.usefixtures("blank_figures")
def test_an_interrupted_comparison_says_how_it_goes_on(biograd, folder: Path):
    line = f"{COMPARE} --rules bp,mine.py:Stopped --seeds 1 --epochs 5"
    (folder / "stop").write_text("interrupt")
    stopped = biograd(line)
    assert (stopped.code, stopped.err) == (
        130,
        "biograd compare: interrupted; the same command goes on where it stopped\n",
    )
    (folder / "stop").unlink()
    assert biograd(line).code == 0


@pytest.fixture
def _short_demo(monkeypatch):
    monkeypatch.setattr(demo, "_RULES", ("bp", "fa"))
    monkeypatch.setattr(demo, "_SEEDS", range(1))
    monkeypatch.setitem(demo._TRAINING, "epochs", 1)


@pytest.mark.usefixtures("_short_demo")
def test_the_demo_needs_nothing_and_can_be_repeated(biograd, folder: Path, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", None)  # whatever asked for the network would raise
    first = biograd("demo")
    assert (first.code, first.err) == (0, "")
    assert first.out.splitlines()[-1] == "runs/demo/report.html"
    assert all(run.diagnostics for run in find_runs("runs/demo"))
    results = [run.result for run in find_runs("runs/demo")]
    second = biograd("demo --json")
    assert second.row["rows"] == results
    assert second.row["report"] == "runs/demo/report.html"


@pytest.mark.usefixtures("blank_figures")
def test_a_report_of_runs_at_any_depth(biograd, folder: Path):
    train = "train --data iris --net mlp --net.widths 8 --epochs 1 --rule"
    for rule, out in (("bp", "all/a"), ("fa", "all/deep/er/b")):
        biograd(*f"{train} {rule} --out {out}".split())
    (folder / "all" / "a" / "result.json").unlink()
    row = biograd("report", "all", "--title", "My <runs>", "--json").row
    assert row == {"report": "all/report.html", "runs": 2, "cells": 2, "left_out": 0}
    page = (folder / "all" / "report.html").read_text()
    assert "<title>My &lt;runs&gt;</title>" in page
    assert biograd("report all").out.splitlines()[-1] == "all/report.html"


TABLES = """
data = "iris"
net = {name = "mlp", widths = [8]}
epochs = 2
[rules.bp]
[rules.fa-strong]
rule = {name = "fa", scale = 2}
lr = 0.01
"""


@pytest.mark.usefixtures("blank_figures")
def test_rules_have_settings_of_their_own_in_tables_of_a_file(biograd, folder: Path):
    (folder / "rules.toml").write_text(TABLES)
    ended = biograd("compare --config rules.toml --seeds 1 --out c")
    assert ended.code == 0
    shown = [line.split()[0] for line in ended.out.splitlines() if "seed)" in line]
    assert shown == ["bp", "fa-strong"]
    assert "fa-strong" in (folder / "c" / "report.html").read_text()
    assert Run.load("c/fa-strong-seed0").config["optimizer"]["settings"] == {"lr": 0.01}
    line = "compare --config rules.toml --rules fa-strong,dfa --seeds 1 --out d --json --lr 0.1"
    rows = biograd(f"{line} --rule.fa-strong.scale 3 --rule.dfa.scale 4").row["rows"]
    assert [(row["rule"], row["label"]) for row in rows] == [("fa", "fa-strong"), ("dfa", "dfa")]
    configs = [Run.load(row["run"]).config for row in rows]
    assert [config["rule"]["settings"] for config in configs] == [{"scale": 3.0}, {"scale": 4.0}]
    assert [config["optimizer"]["settings"] for config in configs] == [{"lr": 0.1}] * 2


@pytest.mark.usefixtures("blank_figures")
def test_mistakes_with_tables_are_one_line(biograd, folder: Path):
    (folder / "rules.toml").write_text(TABLES)
    assert "biograd compare --config rules.toml runs them" in biograd("train --config rules.toml").mistake
    assert (
        "needs --rules A,B,C, or --config FILE with a table"
        in biograd("compare --data iris --net mlp").mistake
    )
    assert (
        "tables of rules.toml: bp, fa-strong"
        in biograd("compare --config rules.toml --rules fa-weak").mistake
    )
    line = "compare --config rules.toml --rule.fa.scale 3"
    assert "rule 'fa' is not among those compared: bp, fa-strong" in biograd(line).mistake


def test_a_single_run_takes_a_label(biograd, folder: Path):
    ended = biograd("train --rule fa --data iris --net mlp --epochs 1 --label fa-strong")
    assert ended.out.startswith("fa-strong on iris with mlp")
    assert ended.out.splitlines()[-1] == "runs/iris-mlp-fa-strong-seed0"
    assert Run.load("runs/iris-mlp-fa-strong-seed0").label == "fa-strong"


DOTTED = """
data = "iris"
net = "mlp"
epochs = 1

[rules."fa.big"]
rule = {name = "fa", scale = 3}

[rules."fa.big.er"]
rule = {name = "fa", scale = 5}
"""


@pytest.mark.usefixtures("blank_figures")
def test_labels_may_have_dots_and_settings_find_the_longest(biograd, folder: Path):
    (folder / "rules.toml").write_text(DOTTED)
    line = "compare --config rules.toml --rules fa.big,fa.big.er,bp --seeds 1 --out c"
    assert biograd(f"{line} --rule.fa.big.er.scale 7").code == 0
    scales = {run.label: run.config["rule"]["settings"].get("scale") for run in find_runs("c")}
    assert scales == {"fa.big": 3, "fa.big.er": 7, "bp": None}


def test_a_label_with_a_dot_is_quoted(biograd, folder: Path):
    (folder / "rules.toml").write_text(DOTTED.replace('"fa.big"', "fa.big"))
    assert 'a label with a dot is quoted, [rules."fa.big"]' in biograd("compare --config rules.toml").mistake


@pytest.mark.parametrize(
    ("rules", "typed", "dealt"),
    [
        (["bp", "mine.py:NoisySign"], "NoisySign.x", ("mine.py:NoisySign", "x")),
        (["bp", "mine.py:NoisySign"], "mine.py:NoisySign.x", ("mine.py:NoisySign", "x")),
        (["bp", "gait-prop"], "gait_prop.form.gamma", ("gait-prop", "form.gamma")),
        (["gait-prop"], "form.gamma", ("gait-prop", "form.gamma")),
        (["gait-prop"], "gait_prop.form.gamma", ("gait-prop", "form.gamma")),
    ],
)
def test_a_setting_goes_to_the_rule_before_it(rules, typed, dealt):
    rule, setting = dealt
    assert settings_by_rule(rules, {typed: "1"}) == {**{one: {} for one in rules}, rule: {setting: "1"}}


def test_a_file_with_tables_does_not_drop_the_rule_that_it_names(biograd, folder: Path):
    (folder / "rules.toml").write_text('rule = "kp"\n' + DOTTED)
    mistake = biograd("compare --config rules.toml").mistake
    assert (
        "rules.toml names the rule 'kp', which none of its tables is for: give it a table [rules.kp]"
        in mistake
    )
