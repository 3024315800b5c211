"""Every figure on the page on benchmarks is that of a recorded row."""

import pytest

from biograd import rules
from biograd.bench.limits import LIMITS, OF_REFERENCE
from tests.benchmarks.figures import drawings
from tests.benchmarks.page import BENCH, PAGE, PARTS, SCALING, THREADS, written

AGAIN = "the page is not current: python -m tests.benchmarks"


def test_the_page_says_what_the_recorded_rows_say():
    assert written() == PAGE.read_text(), AGAIN


@pytest.mark.parametrize("name", PARTS)
def test_a_part_changes_with_its_rows(name, monkeypatch):
    measured = {"sizes": SCALING, "threads": THREADS}.get(name, BENCH)
    before = PARTS[name]()
    numbers = ("ratio", "kept_bytes")
    moved = [
        {key: 2 * value if key in numbers and value else value for key, value in row.items()}
        for row in measured["rows"]
    ]
    monkeypatch.setitem(measured, "rows", moved)
    assert PARTS[name]() != before


def test_figures_are_drawn_from_the_recorded_rows():
    assert [place.name for drawing, place in drawings() if place.read_text() != drawing.svg] == [], AGAIN


def test_every_rule_was_measured_with_the_limits_that_hold_now():
    rows = [row for row in BENCH["rows"] if row["benchmark"] == "step_time"]
    assert {row["rule"] for row in rows} == set(rules.names())
    measured = [row for row in rows if row["ratio"] is not None]
    limits = {(row["rule"], row["net"]): row["limit"] for row in measured if row["limit"] is not None}
    assert limits == {pair: limit.at_most for pair, limit in LIMITS.items()}
    assert {row["of_reference_limit"] for row in measured} == {OF_REFERENCE.at_most, None}
