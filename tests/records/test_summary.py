"""A cell's numbers are over its seeds, and nothing that differs in more than the seed is averaged."""

import statistics
from pathlib import Path

import pytest

from biograd.records import Run, Spread, summarize
from biograd.records.summary import flatten, number, spread
from biograd.report.cells import brief_name_of, name_of


def run(seed, accuracy, *, rule="fa", status="done", folder=None, settings=None, **config):
    full = {
        "rule": {"name": rule, "settings": settings or {}},
        "data": {"name": "mnist", "settings": {}},
        "net": {"name": "mlp", "settings": {}},
        "seed": seed,
        "epochs": 5,
        **config,
    }
    result = None if status == "unfinished" else {"status": status, "test_accuracy": accuracy, "seconds": 2.0}
    return Run(Path(folder or f"{rule}-{seed}"), full, result=result)


def test_mean_and_sample_sd_over_seeds():
    (cell,) = summarize([run(0, 0.90), run(1, 0.92), run(2, 0.97)])
    accuracy = cell.test_accuracy
    assert accuracy.mean == pytest.approx(0.93)
    assert accuracy.sd == pytest.approx(statistics.stdev([0.90, 0.92, 0.97]))
    assert (accuracy.n, cell.seeds, cell.label) == (3, [0, 1, 2], "")
    assert cell.seconds == Spread(2.0, 0.0, 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], Spread(None, None, 0)), ([0.5], Spread(0.5, None, 1)), ([0.25, 0.75], Spread(0.5, 0.125**0.5, 2))],
)
def test_a_spread_needs_two_and_divides_by_one_less(values, expected):
    assert spread(values) == expected


@pytest.mark.parametrize("value", [None, True, "0.5", float("nan"), float("inf"), [0.5]])
def test_what_is_no_finite_number_is_none(value):
    assert number({"accuracy": value}, "accuracy") is None
    assert number({}, "accuracy") is None
    assert number({"accuracy": 1}, "accuracy") == 1.0


def test_a_cell_that_was_exact_inside_blocks_says_so_also_where_it_is_the_only_one():
    exact = {"inside": "exact"}
    (cell,) = summarize([run(0, 0.9, rule="dfa", settings=exact), run(1, 0.8, rule="dfa", settings=exact)])
    assert name_of(cell) == "dfa (rule.inside=exact)"
    assert brief_name_of(cell) == "dfa (inside=exact)"
    (cell,) = summarize([run(0, 0.9, rule="dfa", settings={**exact, "scale": 2.0}, label="mine")])
    assert brief_name_of(cell) == "mine (inside=exact)"
    cuts = {"blocks": ["embed", "layers.*", "head"]}
    (cell,) = summarize([run(0, 0.9, rule="dfa", settings=cuts)])
    assert brief_name_of(cell) == "dfa (blocks=embed layers.* head)"
    (cell,) = summarize(
        [run(0, 0.9, rule="dfa", settings={"inside": None, "blocks": [], "error": "before", "scale": 2.0})]
    )
    assert cell.label == ""


def test_a_cell_whose_errors_passed_the_last_weights_says_so_also_where_it_is_the_only_one():
    (cell,) = summarize([run(0, 0.9, rule="dfa", settings={"error": "after"})])
    assert brief_name_of(cell) == "dfa (error=after)"


def test_one_seed_has_no_spread():
    (cell,) = summarize([run(0, 0.9)])
    assert cell.test_accuracy == Spread(0.9, None, 1)


def test_diverged_and_unfinished_runs_are_counted_and_not_averaged():
    runs = [run(0, 0.9), run(1, 0.1, status="diverged"), run(2, None, status="unfinished")]
    (cell,) = summarize(runs)
    assert cell.test_accuracy == Spread(0.9, None, 1)
    assert (cell.failed, cell.unfinished, len(cell.runs)) == (1, 1, 3)


def test_a_cell_in_which_every_run_failed_stays_and_has_no_mean():
    (cell,) = summarize([run(0, None, status="diverged")])
    assert cell.test_accuracy == Spread(None, None, 0)
    assert cell.failed == 1


def test_a_null_value_is_left_out_of_the_mean():
    (cell,) = summarize([run(0, 0.9), run(1, None)])
    assert cell.test_accuracy == Spread(0.9, None, 1)


def test_a_status_that_is_not_known_counts_as_failed():
    (cell,) = summarize([run(0, 0.9, status="exploded")])
    assert (cell.failed, cell.test_accuracy.n) == (1, 0)


def test_rules_data_and_nets_are_separate_cells():
    other_net = run(0, 0.5, net={"name": "lenet", "settings": {}})
    other_data = run(0, 0.5, data={"name": "digits", "settings": {}})
    cells = summarize([run(0, 0.9), run(0, 0.8, rule="bp"), other_net, other_data])
    assert [(cell.data, cell.net, cell.rule) for cell in cells] == [
        ("digits", "mlp", "fa"),
        ("mnist", "lenet", "fa"),
        ("mnist", "mlp", "bp"),
        ("mnist", "mlp", "fa"),
    ]
    assert {cell.label for cell in cells} == {""}


def test_runs_that_differ_in_configuration_are_never_averaged():
    cells = summarize([run(0, 0.9), run(1, 0.92), run(0, 0.5, epochs=1)])
    assert [(cell.label, cell.test_accuracy.n) for cell in cells] == [("epochs=1", 1), ("epochs=5", 2)]


def test_cells_of_a_rule_are_in_the_order_of_what_differs_numbers_by_size():
    cells = summarize([run(0, 0.9, epochs=epochs) for epochs in (100, 5, 20)])
    assert [cell.label for cell in cells] == ["epochs=5", "epochs=20", "epochs=100"]


def test_what_differs_is_said_the_rules_settings_first_and_numbers_stand_before_words():
    runs = [
        run(0, 0.9, settings={"scale": 2.0}),
        run(0, 0.9, epochs=9),
        run(0, 0.9, settings={"scale": 0.5}),
        run(0, 0.9, settings={"scale": "auto"}),
    ]
    assert [cell.label for cell in summarize(runs)] == [
        "rule.scale=0.5, epochs=5",
        "rule.scale=2.0, epochs=5",
        "rule.scale=auto, epochs=5",
        "rule.scale=default, epochs=9",
    ]


def test_runs_of_a_cell_are_in_the_order_of_their_seeds_wherever_they_lie():
    (cell,) = summarize([run(2, 0.9, folder="a"), run(0, 0.8, folder="c"), run(0, 0.7, folder="b")])
    assert [(one.seed, one.folder.name) for one in cell.runs] == [(0, "b"), (0, "c"), (2, "a")]


@pytest.mark.parametrize("key", ["checkpoint_every", "checkpoint_seconds"])
def test_how_often_checkpoints_are_written_does_not_split_a_cell(key):
    (cell,) = summarize([run(0, 0.9, **{key: 5}), run(1, 0.8, **{key: 50})])
    assert cell.seeds == [0, 1]


def test_a_nested_setting_that_one_run_leaves_at_its_default_is_told_apart():
    adam = {"name": "adam", "settings": {"lr": 0.01}}
    cells = summarize([run(0, 0.9, optimizer=adam, settings={"scale": 0.5}), run(0, 0.9, optimizer=adam)])
    assert {cell.label for cell in cells} == {"rule.scale=0.5", "rule.scale=default"}


def test_a_class_taken_against_the_rest_is_another_task():
    cells = summarize([run(0, 0.9, one_vs_rest="3"), run(0, 0.9, one_vs_rest="4"), run(0, 0.8)])
    assert [(cell.data, cell.label) for cell in cells] == [
        ("mnist", ""),
        ("mnist 3 vs rest", ""),
        ("mnist 4 vs rest", ""),
    ]


def test_where_the_data_lie_does_not_split_a_cell():
    cells = summarize([run(0, 0.9, data_dir="/a"), run(1, 0.8, data_dir="/b")])
    assert [cell.test_accuracy.n for cell in cells] == [2]


def test_a_repeated_seed_is_one_seed_and_is_said():
    (cell,) = summarize([run(0, 0.8, folder="a"), run(0, 0.9, folder="b"), run(1, 0.75, folder="c")])
    assert cell.test_accuracy.n == 2
    assert cell.test_accuracy.mean == pytest.approx(0.8)
    assert cell.repeated == 1


def test_the_order_of_runs_does_not_matter():
    runs = [run(seed, 0.9 + seed / 100, epochs=epochs) for seed in range(3) for epochs in (1, 5)]
    assert summarize(runs) == summarize(reversed(runs))


def test_a_configuration_is_flattened_as_a_user_writes_it():
    config = {"net": {"name": "mlp", "settings": {"widths": [5, 6]}}, "seed": 0, "extra": {"a": {"b": 1}}}
    assert flatten(config) == {"net": "mlp", "net.widths": [5, 6], "seed": 0, "extra.a.b": 1}


def test_a_run_from_before_a_setting_was_recorded_shares_a_cell_with_its_default():
    recorded = {
        "label": None,
        "loss": "cross-entropy",
        "feedback_optimizer": {"name": "shared", "settings": {}},
        "penalty": {"name": "none", "settings": {}},
    }
    (cell,) = summarize([run(0, 0.9), run(1, 0.8, **recorded)])
    assert (cell.label, cell.seeds) == ("", [0, 1])
    labels = [cell.label for cell in summarize([run(0, 0.9), run(1, 0.8, loss="squared-error")])]
    assert labels == ["loss=cross-entropy", "loss=squared-error"]


def test_runs_with_a_label_are_a_row_called_as_it():
    runs = [
        run(0, 0.9),
        run(0, 0.8, label="strong", settings={"scale": 2}),
        run(1, 0.7, label="strong", settings={"scale": 2}),
    ]
    assert [(cell.rule, cell.label, cell.seeds) for cell in summarize(runs)] == [
        ("fa", "", [0]),
        ("strong", "", [0, 1]),
    ]


def test_nor_are_runs_of_one_label_averaged_whose_settings_differ():
    cells = summarize([run(0, 0.9, label="mine"), run(1, 0.8, label="mine", rule="dfa")])
    assert [(cell.rule, cell.label) for cell in cells] == [("mine", "rule=dfa"), ("mine", "rule=fa")]
