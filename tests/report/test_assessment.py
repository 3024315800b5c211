"""What a reader is shown of an assessment: verdicts with their intervals, costs beside backpropagation, and why not."""

import re

import pytest
from tests.report.browser import CHROMIUM, Browser

from biograd.records import ASSESSMENT, write_json
from biograd.report import write_report
from biograd.report.assessment import across_columns, brief_columns, budgets, left_out, verdict_columns

NOTHING = {"value": None, "low": None, "high": None, "n": 0}


def interval(value, low=None, high=None, n=3):
    return {"value": value, "low": low, "high": high, "n": n}


def row(rule="fa", **changes):
    return {
        "rung": "mnist-fc",
        "rule": rule,
        "is_baseline": rule in ("bp", "shallow", "frozen"),
        "reason": None,
        "settings": {"optimizer.lr": 0.001, "rule.kept": 0.25},
        "runs": 3,
        "diverged": 0,
        "unfinished": 0,
        "epochs": 60,
        "of_epochs": 60,
        "accuracy": interval(0.9512, 0.95, 0.9531),
        "gap": {**interval(-0.0201, -0.03, -0.01), "p_value": 0.25},
        "lead": {**interval(0.0502, 0.04, 0.06), "p_value": 0.25},
        "lead_over_shallow": {**NOTHING, "p_value": None},
        "improvement": interval(0.0, 0.0, 0.0),
        "improvement_over_frozen": interval(1.0, 1.0, 1.0),
        "seconds": 30.0,
        "kept_bytes": 2.5e6,
        "checks": [{"check": "growth", "value": 3.0, "layer": "2", "flagged": False}],
        "verdict": "below bp, above frozen",
        "open": None,
        **changes,
    }


def found(*verdicts, **changes):
    rung = {"rung": "mnist-fc", "title": "MNIST FC", "data": "mnist", "net": "mlp"}
    amounts = {"trials": 20, "trial_epochs": 10, "seeds": 3, "epochs": 60, "left_out": None}
    missing = {
        "rung": "imagenet",
        "title": "ImageNet",
        "data": "x",
        "net": "y",
        "left_out": "there is no folder x",
    }
    return {
        "budget": "full",
        "level": 0.95,
        "rungs": [{**rung, **amounts}, {**amounts, **missing}],
        "verdicts": list(verdicts),
        "across": [
            {
                "rule": "fa",
                "rungs": 2,
                "accuracy": interval(0.9),
                "improvement": interval(0.25, 0.0, 0.5),
                "improvement_over_frozen": NOTHING,
            }
        ],
        **changes,
    }


def shown(*verdicts):
    return {
        column.title: [entry.text for entry in column.entries] for column in verdict_columns(found(*verdicts))
    }


def test_a_row_says_what_was_measured_with_its_intervals_and_costs_beside_backpropagation():
    bp = row("bp", gap={**NOTHING, "p_value": None}, seconds=20.0, kept_bytes=2e6, verdict=None)
    told = shown(bp, row())
    assert told["rung"] == ["MNIST FC"] * 2
    assert told["accuracy %"][1] == "95.12 (95.00 to 95.31)"
    assert told["gap to bp"] == ["—", "−2.01 (−3.00 to −1.00)"]
    assert told["lead over frozen"][1] == "+5.02 (+4.00 to +6.00)"
    assert told["better than frozen"][1] == "1.00 (1.00 to 1.00)"
    assert told["seconds"] == ["20", "30 (× 1.50)"]
    assert told["memory"] == ["2.0 MB", "2.5 MB (× 1.25)"]
    assert told["checks"] == ["passed", "passed"]
    assert told["verdict"] == ["baseline", "below bp, above frozen"]
    assert told["chosen"][1] == "optimizer.lr 0.001, rule.kept 0.25"
    assert "lead over shallow" not in told
    assert "trained" not in told


def test_a_terminal_has_the_verdict_and_what_it_is_made_of():
    titles = [column.title for column in brief_columns(found(row("bp"), row()))]
    assert titles == ["rung", "rule", "verdict", "accuracy %", "gap to bp", "lead over frozen"]


def test_what_failed_or_is_open_is_said():
    flagged = [{"check": "growth", "value": 70.0, "layer": "2", "flagged": True}]
    few = row(runs=3, diverged=1, epochs=3, verdict=None, open="judged at the full budget", checks=flagged)
    none = row(
        "softhebb", runs=0, reason="needs layers of its own", accuracy=NOTHING, checks=[], verdict=None
    )
    told = shown(few, none)
    assert told["seeds"] == ["2 (1 of 3 diverged)", "0"]
    assert told["trained"] == ["3 of 60 epochs", ""]
    assert told["checks"] == ["growth 70 in 2", ""]
    assert told["verdict"] == ["open: judged at the full budget", "none: needs layers of its own"]
    assert told["accuracy %"][1] == "—"


def test_all_rungs_together_and_what_each_rule_got():
    told = found()
    (improvement,) = (one for one in across_columns(told["across"]) if one.title == "better than bp")
    assert improvement.entries[0].text == "0.25 (0.00 to 0.50)"
    assert budgets(told["rungs"]) == ["MNIST FC: 20 trials of 10 epochs, then 3 seeds of 60 epochs"]
    assert left_out(told["rungs"]) == ["ImageNet: there is no folder x"]


@pytest.fixture
def assessed(make_run, tmp_path, blank_figures):
    for rule in ("bp", "fa"):
        make_run(tmp_path / "mnist-fc" / f"{rule}-seed0", rule)
    write_json(tmp_path / ASSESSMENT, found(row("bp"), row()))
    return tmp_path


def test_the_report_has_the_verdicts_at_its_head_and_the_ladder_in_its_order(assessed):
    page = write_report(assessed).read_text()
    assert "<title>Assessment, full budget" in page
    assert page.index('id="assessment"') < page.index('id="summary"')
    assert "below bp, above frozen" in page
    assert "there is no folder x" in page


def test_a_damaged_assessment_is_left_out_and_the_page_says_so(assessed):
    (assessed / ASSESSMENT).write_text("{}")
    with pytest.warns(UserWarning, match=r"assessment\.json"):
        page = write_report(assessed).read_text()
    assert re.search(r"assessment\.json.*budget is missing", page, re.DOTALL)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_in_a_browser_the_best_accuracy_comes_first_on_the_first_click(assessed, tmp_path_factory):
    write_json(assessed / ASSESSMENT, found(row("fa"), row("bp", accuracy=interval(0.98))))
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        browser.show(write_report(assessed), width=375)
        titles = "[...document.querySelectorAll('#assessment thead th')]"
        click = (
            f"{titles}.find((title) => title.textContent === 'accuracy %').querySelector('button').click()"
        )
        browser.run(click)
        rules = (
            "[...document.querySelectorAll('#assessment tbody tr')].map((row) => row.cells[1].textContent)"
        )
        assert browser.run(rules)[:2] == ["bp", "fa"]
        assert not browser.run("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert browser.complaints == []
