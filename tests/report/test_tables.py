"""Every table shows the same numbers: mean ± sd over seeds, and what has no part in them."""

import csv as csv_format
import io
import statistics

import pytest
from rich.console import Console

from biograd.records import append_line, read_json, write_json
from biograd.report.cells import brief_name_of
from biograd.report.differences import configuration
from biograd.report.table import Table
from biograd.report.tables import csv, markdown, rich_table, summary_columns

EPOCH = {"step": 1, "train_loss": 0.1, "seconds": 1.0}


@pytest.fixture
def table(make_run, tmp_path):
    for seed, final in enumerate((0.90, 0.92, 0.97)):
        make_run(tmp_path / f"bp{seed}", "bp", seed, final=final)
    make_run(tmp_path / "fa", "fa", 0, final=0.91)
    make_run(tmp_path / "fa1", "fa", 1, stop=2, reason="the loss became NaN")
    make_run(tmp_path / "x", "my.py:A|B[red]", 0, stop=1)
    return Table.below(tmp_path)


def printed(table, width=200):
    console = Console(width=width, file=io.StringIO())
    console.print(rich_table(table, "title"))
    return console.file.getvalue()


def column(table, title):
    return next(column for column in summary_columns(table) if column.title == title)


def test_backpropagation_comes_first_and_the_others_are_compared_with_it(table):
    assert [entry.text for entry in column(table, "rule").entries] == ["bp", "fa", "A|B[red]"]
    assert [entry.text for entry in column(table, "Δ bp").entries] == ["—", "−2.00", "—"]
    ratio = column(table, "× bp").entries[1]
    seconds = [entry.value for entry in column(table, "seconds").entries]
    assert ratio.value == pytest.approx(seconds[1] / seconds[0])


def test_accuracy_is_mean_and_sample_sd_in_percent(table):
    sd = 100 * statistics.stdev([0.90, 0.92, 0.97])
    assert [entry.text for entry in column(table, "test accuracy %").entries] == [
        f"93.00 ± {sd:.2f}",
        "91.00 (1 seed)",
        "—",
    ]


def test_the_best_epoch_on_the_test_set_is_a_column_of_its_own_where_runs_have_one(make_run, tmp_path):
    for seed, values in enumerate(((0.5, 0.9, 0.8), (0.7, 0.6, 0.6))):
        folder = make_run(tmp_path / f"bp{seed}", "bp", seed, final=0.8, read_test="every-epoch")
        for epoch, value in enumerate(values):
            append_line(folder / "metrics.jsonl", {**EPOCH, "epoch": 6 + epoch, "test_accuracy": value})
    make_run(tmp_path / "fa", "fa", 0, final=0.9)
    table = Table.below(tmp_path)
    best = "test accuracy %, best epoch"
    assert [entry.text for entry in column(table, best).entries] == ["80.00 ± 14.14", "—"]
    assert column(table, "test accuracy %").entries[0].value == pytest.approx(0.8)
    assert best not in [one.title for one in summary_columns(Table.below(tmp_path / "fa"))]


def test_a_column_without_any_value_is_left_out(table):
    assert "configuration" not in [column.title for column in summary_columns(table)]


def test_runs_of_one_rule_under_several_penalties_are_told_apart(make_run, tmp_path):
    for number, penalty in enumerate(("none", "decay", "decay")):
        settings = {"strength": 10.0**-number} if penalty == "decay" else {}
        make_run(tmp_path / f"{number}", "fa", penalty={"name": penalty, "settings": settings})
    table = Table.below(tmp_path)
    assert [cell.label for cell in table.cells] == [
        "penalty=decay, penalty.strength=0.01",
        "penalty=decay, penalty.strength=0.1",
        "penalty=none, penalty.strength=default",
    ]
    assert brief_name_of(table.cells[0]) == "fa (penalty=decay, strength=0.01)"
    shown = {one.name: [value.text for value in one.values] for one in configuration(table) if one.differs}
    assert shown["penalty"] == ["decay", "none"]


def test_a_table_of_one_task_names_it_once_and_fits_a_terminal(make_run, tmp_path):
    for rule, seed in (("bp", 0), ("bp", 1), ("shallow", 0), ("shallow", 1)):
        make_run(tmp_path / f"{rule}{seed}", rule, seed, final=0.9 + seed / 30)
    table = Table.below(tmp_path)
    lines = printed(table, width=80).splitlines()
    assert lines[0].strip() == f"title: {table.cells[0].data} · {table.cells[0].net}"
    assert sum(table.cells[0].data in line for line in lines) == 1
    row = next(line for line in lines if line.strip().startswith("shallow"))
    assert row.count("±") == 3


def test_a_block_whose_activity_grew_more_than_fiftyfold_is_named(make_run, tmp_path):
    for rule, factor in (("bp", 40), ("dfa", 60)):
        for seed in (0, 1):
            folder = make_run(tmp_path / f"{rule}{seed}", rule, seed)
            for step, block, value in ((0, "a", 1.0), (0, "b", 0.5), (9, "a", factor + seed), (9, "b", 1.0)):
                row = {"step": step, "epoch": 1, "quantity": "activity", "layer": block, "value": value}
                append_line(folder / "diagnostics.jsonl", row)
    table = Table.below(tmp_path)
    assert [entry.text for entry in column(table, "growth").entries] == ["—", "60 × in a"]
    assert table.cells[1].growth["a"].mean == pytest.approx(60.5)
    assert table.cells[1].growth["b"].mean == pytest.approx(2.0)


def test_all_tables_name_the_runs_that_are_left_out(table):
    for text in (printed(table), markdown(table)):
        assert "1 (1 of 2 diverged)" in text
        assert "0 (1 of 1 unfinished)" in text


def test_a_name_is_never_taken_for_the_tables_own_markup(table):
    assert "A|B[red]" in printed(table)
    rows = markdown(table).splitlines()
    assert "A\\|B\\[red\\]" in rows[-1]
    assert len({len(row.replace("\\|", "").split("|")) for row in rows}) == 1


def test_two_cells_of_backpropagation_are_nobodys_reference(make_run, tmp_path):
    make_run(tmp_path / "a", "bp", epochs=5)
    make_run(tmp_path / "b", "bp", epochs=6)
    make_run(tmp_path / "c", "fa", epochs=5)
    table = Table.below(tmp_path)
    assert "Δ bp" not in [column.title for column in summary_columns(table)]
    assert [entry.text for entry in column(table, "configuration").entries] == ["epochs=5", "epochs=6", ""]


def test_backpropagation_on_other_data_is_no_reference(make_run, tmp_path):
    make_run(tmp_path / "a", "bp", data={"name": "digits", "settings": {}})
    make_run(tmp_path / "b", "fa")
    assert "Δ bp" not in [column.title for column in summary_columns(Table.below(tmp_path))]


def test_the_spreadsheet_has_every_digit(table):
    rows = list(csv_format.DictReader(io.StringIO(csv(table))))
    assert float(rows[0]["test_accuracy_mean"]) == statistics.fmean([0.90, 0.92, 0.97])
    assert float(rows[0]["test_accuracy_sd"]) == statistics.stdev([0.90, 0.92, 0.97])
    assert (rows[0]["test_accuracy_n"], rows[1]["test_accuracy_sd"], rows[1]["diverged"]) == ("3", "", "1")
    assert (rows[2]["test_accuracy_mean"], rows[2]["unfinished"]) == ("", "1")


def test_a_label_stands_in_place_of_the_rule_and_backpropagation_is_known_under_one(make_run, tmp_path):
    make_run(tmp_path / "a", "bp", 0, final=0.90, label="reference")
    make_run(tmp_path / "b", "fa", 0, final=0.85)
    make_run(tmp_path / "c", "fa", 0, final=0.88, label="fa-strong")
    table = Table.below(tmp_path)
    shown = dict(
        zip(*([e.text for e in column(table, title).entries] for title in ("rule", "Δ bp")), strict=True)
    )
    assert shown == {"fa": "−5.00", "fa-strong": "−2.00", "reference": "—"}
    assert "configuration" not in [column.title for column in summary_columns(table)]
    rules = next(one for one in configuration(table) if one.name == "rule")
    assert [(value.text, value.holders) for value in rules.values] == [
        ("bp", "reference"),
        ("fa", "fa, fa-strong"),
    ]
    assert "rule" not in [
        one.name for one in configuration(table.regrouped(cell for cell in table.cells if cell.rule == "fa"))
    ]


@pytest.fixture
def forms(make_run, tmp_path):
    """Rules of long names, and one rule with several settings, over two seeds."""
    for seed in range(2):
        for rule in ("bp", "ddtp-linear"):
            make_run(tmp_path / f"{rule}{seed}", rule, seed, final=0.9 + seed / 30)
        for form in ("adaptive", "linearised"):
            place, settings = tmp_path / f"{form}{seed}", {"form": form}
            make_run(place, "gait-prop", seed, settings=settings, final=0.9 + seed / 30)
    return Table.below(tmp_path)


def test_one_rule_with_two_settings_is_two_rows_with_names_that_tell_them_apart(forms):
    assert [brief_name_of(cell) for cell in forms.cells] == [
        "bp",
        "ddtp-linear",
        "gait-prop (form=adaptive)",
        "gait-prop (form=linearised)",
    ]
    assert [entry.text for entry in column(forms, "rule").entries][2:] == ["gait-prop", "gait-prop"]
    assert [entry.text for entry in column(forms, "configuration").entries][2:] == [
        "rule.form=adaptive",
        "rule.form=linearised",
    ]


def test_a_narrow_terminal_shows_whole_names_and_numbers_and_leaves_the_validation_accuracy_out(forms):
    wide, narrow = printed(forms, width=200), printed(forms, width=80)
    assert "…" not in wide + narrow
    for name in ("ddtp-linear", "gait-prop (form=adaptive)", "gait-prop (form=linearised)"):
        assert any(line.strip().startswith(name) and "91.67 ± 2.36" in line for line in narrow.splitlines())
    assert "validation" in wide
    assert "validation" not in narrow
    assert max(map(len, narrow.splitlines())) <= 80


@pytest.mark.parametrize("width", [60, 40])
def test_a_terminal_that_is_too_narrow_breaks_names_and_hides_nothing(forms, width):
    text = printed(forms, width)
    assert "…" not in text
    assert text.count("ddtp") == 1
    assert text.count("gait") == 2
    assert text.count("91.67") == 4
    assert text.count("±") == 4 * 2 + 1


def test_settings_of_the_rule_come_first_in_a_name(make_run, tmp_path):
    for form, lr in (("adaptive", 0.1), ("linearised", 0.2)):
        optimizer = {"name": "adam", "settings": {"lr": lr}}
        make_run(tmp_path / form, "gait-prop", settings={"form": form}, optimizer=optimizer)
    names = [brief_name_of(cell) for cell in Table.below(tmp_path).cells]
    assert names == ["gait-prop (form=adaptive, lr=0.1)", "gait-prop (form=linearised, lr=0.2)"]


def test_the_validation_part_is_shown_on_demand_also_where_the_test_set_was_read(make_run, tmp_path):
    for rule, tested, validated in (("bp", 0.9, 0.8), ("fa", 0.85, 0.82)):
        folder = tmp_path / rule
        make_run(folder, rule, final=tested)
        result = read_json(folder / "result.json")
        write_json(folder / "result.json", {**result, "validation_accuracy": validated})
    table = Table.below(tmp_path)
    asked = Table.of(table.runs, validated=True)
    for shown, part, difference in ((table, "test", "−5.00"), (asked, "validation", "+2.00")):
        assert {task.part_shown for task in shown.tasks} == {part}
        assert column(shown, "Δ bp").entries[1].text == difference
        assert column(shown.regrouped(shown.cells), "Δ bp").entries[1].text == difference
        assert column(shown, "test accuracy %").entries[0].text == "90.00 (1 seed)"
