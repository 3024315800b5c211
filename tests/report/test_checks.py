"""Checks beside accuracy, from rows: each number is the one that speaks most against a rule, flagged where it fails."""

import math

import pytest

from biograd.records import append_line
from biograd.report import write_report
from biograd.report.checks import check_columns
from biograd.report.table import Table


def measured(folder, quantity, *values):
    """Rows of the blocks 0, 2 and 4, a step a tuple."""
    for step, of_blocks in enumerate(values):
        for layer, value in zip("024", of_blocks, strict=False):
            row = {"step": step, "epoch": 1, "quantity": quantity, "layer": layer, "value": value}
            append_line(folder / "diagnostics.jsonl", row)


def shown(folder, title):
    columns = {column.title: column.entries for column in check_columns(Table.below(folder))}
    return dict(zip([entry.text for entry in columns["rule"]], [e.text for e in columns[title]], strict=True))


@pytest.fixture
def two(make_run, tmp_path):
    """Runs of fa and dfa."""
    return make_run(tmp_path / "fa-seed0", "fa"), make_run(tmp_path / "dfa-seed0", "dfa")


def test_growth_is_the_most_of_any_block_at_any_time(two, tmp_path):
    measured(two[0], "signal_growth", (1.0, 3.0), (2.0, 1.5))
    measured(two[1], "signal_growth", (1.0, 3.0), (51.0, None))
    assert shown(tmp_path, "growth") == {"fa": "3 × in 2", "dfa": "51 × in 0: explodes"}


def test_a_reference_is_as_valid_as_its_smallest_gradient(two, tmp_path):
    measured(two[0], "reference_norm", (1.0, 2e-7), (3.0, 4.0))
    measured(two[1], "reference_norm", (5e-8, 1.0))
    expected = {"fa": "2.0e-07 of 2", "dfa": "5.0e-08 of 0: angles undefined"}
    assert shown(tmp_path, "reference") == expected


@pytest.mark.parametrize("over", ["batch", "step"])
def test_stability_is_the_mean_of_the_hidden_block_that_is_told_most_alike(two, tmp_path, over):
    measured(two[0], f"{over}_stability", (0.5, 0.2, 1.0), (0.7, 0.9, 1.0))
    measured(two[1], f"{over}_stability", (0.992, 0.1, 0.0), (0.99, 0.1, 0.0))
    title = "stability over batches" if over == "batch" else "stability over steps"
    assert shown(tmp_path, title) == {"fa": "0.60 in 0", "dfa": "0.99 in 0: constant"}


def test_depth_utility_is_the_lead_over_rules_that_teach_no_hidden_layer_seed_by_seed(make_run, tmp_path):
    accuracies = {"fa": (0.96, 0.97, 0.99), "dfa": (0.90, 0.90, 0.93), "frozen": (0.93, 0.95, 0.93)}
    for rule, finals in accuracies.items():
        for seed, final in enumerate(finals):
            make_run(tmp_path / f"{rule}-seed{seed}", rule, seed, final=final)
    make_run(tmp_path / "frozen-seed9", "frozen", 9, final=0.1)  # which has no partner
    found = shown(tmp_path, "lead over frozen")
    assert found["fa"] == "+3.67 (+2.00 to +6.00)"
    assert found["dfa"] == "−2.67 (−5.00 to +0.00): no use of depth"
    assert found["frozen"] == "—"


def test_one_seed_leads_without_an_interval(make_run, tmp_path):
    make_run(tmp_path / "fa", "fa", final=0.9)
    make_run(tmp_path / "shallow", "shallow", final=0.8)
    assert shown(tmp_path, "lead over shallow") == {"fa": "+10.00", "shallow": "—"}


@pytest.mark.usefixtures("two")
def test_where_nothing_was_measured_there_are_no_checks(tmp_path):
    assert check_columns(Table.below(tmp_path)) == []


@pytest.mark.usefixtures("blank_figures")
def test_the_page_shows_them(two, tmp_path):
    assert 'id="checks"' not in write_report(tmp_path).read_text()
    measured(two[0], "signal_growth", (math.pi, 60.0))
    page = write_report(tmp_path).read_text()
    assert '<section id="checks"' in page
    assert "60 × in 2: explodes" in page
