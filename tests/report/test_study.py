"""What a study found stands at the head of its page, and the tables say what no mean holds."""

import json

import pytest
from markupsafe import escape

from biograd.errors import UserMistake
from biograd.records import read_study, write_json
from biograd.report.page import write_report
from biograd.report.study import claim_columns, compared, measured_columns, one_by_one
from biograd.report.table import Table

ROW = {
    "group": "MNIST, fa",
    "quantity": "test accuracy",
    "unit": "fraction",
    "mean": 0.9712,
    "sd": 0.0021,
    "seeds": 3,
    "cells": 1,
    "of_cells": 1,
    "runs": 3,
    "unfinished": 0,
    "diverged": 0,
    "published": 0.98,
    "published_sd": None,
    "difference": -0.0088,
    "source": "Somebody 1999, table 1",
}
CLAIM = {
    "claim": "as good as <b>that</b>",
    "group": "MNIST, fa",
    "beside": "MNIST, bp",
    "quantity": "test accuracy",
    "unit": "fraction",
    "at_least": -0.003,
    "mean": -0.0088,
    "sd": None,
    "seeds": 1,
    "met": False,
    "open": None,
    "caveat": None,
}


def texts(columns):
    return {column.title: [entry.text for entry in column.entries] for column in columns}


def test_measured_beside_published_in_the_unit_of_the_quantity():
    angle = {**ROW, "quantity": "gradient angle of 0.weight", "unit": "degrees", "mean": 71.26, "sd": 1.0}
    shown = texts(
        measured_columns([ROW, {**angle, "published": 70.0, "published_sd": 2.0, "difference": 1.26}])
    )
    assert shown["quantity"] == ["test accuracy %", "gradient angle of 0.weight °"]
    assert shown["measured"] == ["97.12 ± 0.21", "71.3 ± 1.0"]
    assert shown["published"] == ["98.00", "70.0 ± 2.0"]
    assert shown["difference"] == ["−0.88", "+1.3"]
    assert shown["source"] == ["Somebody 1999, table 1"] * 2


def test_what_no_mean_holds_is_said():
    partly = {**ROW, "cells": 2, "of_cells": 10, "diverged": 1, "unfinished": 2}
    nothing = {**ROW, "mean": None, "sd": None, "seeds": 0, "difference": None}
    shown = texts(measured_columns([partly, nothing]))
    assert shown["not in the mean"] == ["8 of 10 cells, 1 of 3 runs diverged, 2 of 3 runs unfinished", ""]
    assert (shown["measured"][1], shown["difference"][1]) == ("—", "—")


def test_columns_without_content_are_left_out():
    alone = {**ROW, "published": None, "difference": None, "source": None}
    assert list(texts(measured_columns([alone]))) == ["group", "quantity", "measured", "seeds"]


def test_a_claim_stands_beside_its_bound():
    bound = {**CLAIM, "beside": None, "at_least": 0.96, "mean": 0.9712, "sd": 0.001, "met": True}
    shown = texts(claim_columns([CLAIM, bound]))
    assert "95 % interval" not in shown
    assert shown["measured"] == ["−0.88", "97.12 ± 0.10"]
    assert shown["at least"] == ["−0.30", "96.00"]
    assert shown["verdict"] == ["not met", "met"]


def test_a_claim_shows_the_interval_of_its_mean():
    level = {**CLAIM, "beside": None, "low": 0.9612, "high": 0.98}
    shown = texts(claim_columns([{**CLAIM, "low": -0.0123, "high": 0.002}, level, CLAIM]))
    assert shown["95 % interval"] == ["−1.23 to +0.20", "96.12 to 98.00", "—"]


@pytest.mark.parametrize(
    ("met", "reason", "wanted"),
    [
        (True, None, "confirmed"),
        (False, None, "refuted"),
        (None, "the interval holds the bound", "open: the interval holds the bound"),
        (None, None, "open: nothing was measured"),
    ],
)
def test_a_claim_with_an_interval_is_confirmed_refuted_or_open(met, reason, wanted):
    claim = {**CLAIM, "low": -0.2, "high": 0.1, "met": met, "open": reason}
    assert texts(claim_columns([claim]))["verdict"] == [wanted]


def test_a_claim_about_trials_says_how_many():
    assert texts(claim_columns([{**CLAIM, "seeds": 0, "trials": 20}]))["seeds"] == ["20 trials"]


@pytest.fixture
def studied(make_run, tmp_path):
    make_run(tmp_path / "fa-seed0", "fa")
    found = {"study": "small", "title": "A study", "reference": "Somebody 1999.", "budget": "full"}
    write_json(tmp_path / "study.json", {**found, "rows": [ROW], "claims": [CLAIM]})
    return tmp_path


@pytest.mark.usefixtures("blank_figures")
def test_the_page_begins_with_the_study(studied):
    html = write_report(studied).read_text()
    assert "<title>A study, full budget</title>" in html
    assert html.index('id="study"') < html.index('id="summary"')
    for text in ("Somebody 1999, table 1", "97.12 ± 0.21", "as good as &lt;b&gt;that", "not met"):
        assert text in html
    assert "<title>mine</title>" in write_report(studied, "mine").read_text()


def test_a_page_without_a_study_has_no_such_part(runs_folder):
    assert read_study(runs_folder) is None
    assert "Measured beside published" not in (runs_folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rows": [{}]}, "rows.0.group is missing"),
        ({"claims": None}, "claims is None, expected a list"),
        ({"rows": [{**ROW, "unit": "feet"}]}, "rows.0.unit is 'feet', expected 'fraction'"),
    ],
)
def test_a_damaged_file_is_left_out_and_the_page_says_so(studied, change, complaint):
    write_json(studied / "study.json", json.loads((studied / "study.json").read_text()) | change)
    with pytest.raises(UserMistake, match=rf"study\.json: {complaint}.*run biograd reproduce again"):
        read_study(studied)
    with pytest.warns(UserWarning, match=rf"left out: .*study\.json: {complaint}"):
        html = write_report(studied).read_text()
    assert 'id="study"' not in html
    assert f"study.json: {escape(complaint)}" in html


def test_what_lies_in_one_folder_is_compared_whatever_the_nets(make_run, tmp_path):
    soft = {"name": "softhebb-mlp", "settings": {}}
    make_run(tmp_path / "3" / "bp-seed0", "bp")
    make_run(tmp_path / "3" / "softhebb-seed0", "softhebb", net=soft)
    make_run(tmp_path / "4" / "dfa-seed0", "dfa")
    cells = compared(Table.below(tmp_path).cells)
    assert {cell.rule: cell.net for cell in cells} == {
        "bp": "mlp, softhebb-mlp",
        "softhebb": "mlp, softhebb-mlp",
        "dfa": "mlp",
    }


@pytest.mark.usefixtures("blank_figures")
def test_classes_one_by_one_are_drawn_by_reports_of_their_own(make_run, studied):
    for digit in "34":
        make_run(studied / digit / "fa-seed0", "fa", one_vs_rest=digit)
    make_run(studied / "iris" / "fa-seed0", "fa", one_vs_rest="setosa", data={"name": "iris", "settings": {}})
    cells = Table.below(studied).cells
    assert [cell.data for cell in one_by_one(cells)] == ["mnist 3 vs rest", "mnist 4 vs rest"]
    html = write_report(studied).read_text()
    assert "Test accuracy: mnist · mlp" in html
    assert "Test accuracy: iris setosa vs rest · mlp" in html
    assert "Test accuracy: mnist 3" not in html
    assert "2 tasks of one class against the rest are drawn together" in html
    assert "mnist 3 vs rest" in html
    assert "Test accuracy: mnist 3 vs rest" in write_report(studied / "3").read_text()
