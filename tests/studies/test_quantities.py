"""What a study can ask of a run."""

import pytest

from biograd.studies.quantities import AtEnd, AtEpoch, Diagnostic


def test_an_entry_of_the_result(make_run):
    assert AtEnd("test_accuracy").of(make_run(0, 0.9)) == 0.9
    assert AtEnd("test_loss").of(make_run(0, 0.9)) is None


def test_an_entry_of_an_epoch(make_run):
    metrics = [{"epoch": epoch, "validation_accuracy": epoch / 10} for epoch in (1, 2, 3)]
    run = make_run(0, 0.9, metrics=metrics)
    assert AtEpoch("validation_accuracy", 2).of(run) == 0.2
    assert AtEpoch("validation_accuracy", 4).of(run) is None


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
        (AtEpoch("train_loss", 3), "train loss, epoch 3", "number"),
        (Diagnostic("gradient_angle", "0.weight"), "gradient angle of 0.weight", "degrees"),
        (Diagnostic("norm_ratio", "0.weight", 2), "norm ratio of 0.weight, epoch 2", "number"),
    ],
)
def test_titles_and_units(quantity, title, unit):
    assert (quantity.title, quantity.unit) == (title, unit)
