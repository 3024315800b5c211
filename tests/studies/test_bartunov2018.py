"""The study trains every cell of the paper's tables, and a search of one fixes nothing that it should find."""

import pytest

from biograd.studies import tuned
from biograd.studies.bartunov2018 import COLUMNS, EPOCHS, RULES, SHARED_WEIGHTS, bartunov2018
from biograd.studies.cells import configuration
from biograd.tuning import Budget

STUDY = bartunov2018()
CELLS = {cell.name: cell for cell in STUDY.cells}


def test_every_method_of_the_paper_is_a_cell_of_every_column():
    for column in COLUMNS:
        lacking = set(RULES) - set(column.labels)
        if column.name != "imagenet-lc":  # where four of the methods were not tried
            assert lacking == ({SHARED_WEIGHTS} if column.twin is None else set())
        assert {f"{column.name}/{label}" for label in column.labels} <= set(CELLS)


@pytest.mark.parametrize("column", COLUMNS, ids=[column.name for column in COLUMNS])
def test_the_papers_budget_has_the_settings_that_it_prints(column):
    for label in column.labels:
        config = configuration(CELLS[f"{column.name}/{label}"], "paper", 0, {"device": "cpu"})
        printed = column.printed_of(label)
        assert (config.epochs, config.optimizer.settings["lr"]) == (EPOCHS, printed.lr)
        assert config.feedback_optimizer.settings.get("lr") == printed.inverse_lr
        assert config.optimizer.settings.get("eps") == printed.eps
        assert config.rule.settings.get("alpha") == printed.alpha
        assert config.rule.settings.get("noise") == printed.noise
        assert (config.read_test, config.schedule.name) == ("every-epoch", "none")


def test_cells_of_a_column_get_the_same_budget_and_differ_in_the_rule_alone():
    for column in COLUMNS:
        cells = [CELLS[f"{column.name}/{label}"] for label in column.labels]
        assert len({(cell.full, cell.quick, cell.paper) for cell in cells}) == 1
        for cell in cells:
            own = {"rule": RULES[cell.label]}
            if cell.label == SHARED_WEIGHTS:
                own["net"] = column.twin
            assert cell.configuration == {**cells[0].configuration, **own}


def test_what_the_paper_searched_is_searched_and_no_trial_reads_the_test_set():
    of_target_propagation = tuned.contender(CELLS["mnist-fc/dtp-alternating"])
    searched = {"rule.alpha", "rule.noise", "optimizer.lr", "optimizer.eps", "feedback_optimizer.lr"}
    assert set(of_target_propagation.space) == searched
    assert of_target_propagation.trial({}, Budget(trials=1, epochs=10)).read_test is False
    assert of_target_propagation.config({}).rule.settings["schedule"] == "alternating"


def test_published_errors_stand_beside_the_papers_own_protocol_alone():
    groups = {
        group.name: {shown.quantity.title: shown.published for shown in group.shows} for group in STUDY.groups
    }
    shown = groups["CIFAR-10 LC, dtp-alternating"]
    assert shown["test accuracy"] is None
    best = shown["test accuracy, best epoch on the test set"]
    assert (best.value, best.epochs) == (0.6053, EPOCHS)
    assert groups["MNIST LC, bp-convnet"]["test accuracy, best epoch on the test set"].value == 0.9899
    assert groups["CIFAR-10 FC, fa"]["train accuracy"].value == 0.7438
