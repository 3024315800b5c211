"""What a study can ask of a run."""

import pytest

from biograd.studies.quantities import AtEnd, AtEpoch, BestEpoch, Diagnostic


def test_an_entry_of_the_result(make_run):
    assert AtEnd("test_accuracy").of(make_run(0, 0.9)) == 0.9
    assert AtEnd("test_loss").of(make_run(0, 0.9)) is None


def test_an_entry_of_an_epoch(make_run):
    metrics = [{"epoch": epoch, "validation_accuracy": epoch / 10} for epoch in (1, 2, 3)]
    run = make_run(0, 0.9, metrics=metrics)
    assert AtEpoch("validation_accuracy", 2).of(run) == 0.2
    assert AtEpoch("validation_accuracy", 4).of(run) is None


def test_the_best_epoch_is_the_best_of_the_test_set_and_needs_a_run_that_read_it_after_each(make_run):
    metrics = [
        {"epoch": at, "test_accuracy": value} for at, value in ((1, 0.7), (2, None), (3, 0.9), (4, 0.8))
    ]
    run = make_run(0, 0.8, metrics=metrics)
    assert BestEpoch("test_accuracy").of(run) == 0.9
    assert BestEpoch("test_accuracy").of(make_run(0, 0.8)) is None
    costs = [{**row, "test_mean_absolute_error": row["test_accuracy"]} for row in metrics]
    assert BestEpoch("test_mean_absolute_error").of(make_run(0, 0.8, metrics=costs)) == 0.7
    read = [one.reads_test for one in (BestEpoch("test_r2"), AtEpoch("test_r2", 1), AtEpoch("train_r2", 1))]
    assert read == ["every-epoch", "every-epoch", False]


ROWS = [
    {"epoch": 1, "quantity": "gradient_angle", "layer": "0.weight", "value": 80.0},
    {"epoch": 2, "quantity": "gradient_angle", "layer": "0.weight", "value": 50.0},
    {"epoch": 2, "quantity": "gradient_angle", "layer": "0.weight", "value": 40.0},
    {"epoch": 2, "quantity": "gradient_angle", "layer": "2.weight", "value": 10.0},
    {"epoch": 3, "quantity": "norm_ratio", "layer": "0.weight", "value": 2.0},
    {"epoch": 3, "quantity": "seconds", "layer": None, "value": 0.1},
]


@pytest.mark.parametrize(("epoch", "value"), [(None, 45.0), (1, 80.0), (3, None)])
def test_a_diagnostic_is_the_mean_over_an_epoch_by_default_the_last_measured(make_run, epoch, value):
    run = make_run(0, 0.9, diagnostics=ROWS)
    assert Diagnostic("gradient_angle", "0.weight", epoch).of(run) == value


@pytest.mark.parametrize(
    ("quantity", "title", "unit"),
    [
        (AtEnd("test_balanced_accuracy"), "test balanced accuracy", "fraction"),
        (AtEnd("seconds"), "seconds", "seconds"),
        (BestEpoch("test_accuracy"), "test accuracy, best epoch on the test set", "fraction"),
        (AtEpoch("train_loss", 3), "train loss, epoch 3", "number"),
        (Diagnostic("gradient_angle", "0.weight"), "gradient angle of 0.weight", "degrees"),
        (Diagnostic("norm_ratio", "0.weight", 2), "norm ratio of 0.weight, epoch 2", "number"),
    ],
)
def test_titles_and_units(quantity, title, unit):
    assert (quantity.title, quantity.unit) == (title, unit)
