"""The study holds the whole table beside what it trains."""

import pytest

from biograd.studies.cells import configuration
from biograd.studies.feedback_family import COLUMNS, RULES, feedback_family
from biograd.studies.study import BUDGETS

STUDY = feedback_family()
CELLS = {cell.name: cell for cell in STUDY.cells}


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_cell_is_a_configuration(budget):
    cells = [cell for cell in STUDY.cells if cell.budget(budget)]
    configs = [configuration(cell, budget, 0, {"device": "cpu"}) for cell in cells]
    assert len({config.digest() for config in configs}) == len(cells) > 0


def test_every_cell_of_the_table_has_its_published_number():
    published = {group.name: group.shows[0].published.value for group in STUDY.groups}
    assert len(published) == len(COLUMNS) * len(RULES) == 54
    assert published["MNIST LeNet, fa"] == 0.983
    assert published["CIFAR-10 ResNet-56, adam, usf"] == 0.9081
    assert published["ImageNet ResNet-18, bp"] == 0.6961


def test_rules_of_a_column_differ_in_the_rule_but_for_direct_feedback_on_imagenet():
    for column in COLUMNS:
        configs = [
            configuration(CELLS[f"{column.name}/{label}"], "paper", 0, {"device": "cpu"}) for label in RULES
        ]
        assert [config.rule.name for config in configs] == list(RULES)
        others = {config.model_copy(update={"rule": configs[0].rule}).digest() for config in configs}
        assert len(others) == (2 if column.name.startswith("imagenet") else 1)


def test_inside_residual_units_direct_feedback_is_exact_and_says_so():
    inside = {
        name: configuration(cell, "paper", 0, {"device": "cpu"}).rule.settings.get("inside")
        for name, cell in CELLS.items()
    }
    assert {name for name, value in inside.items() if value} == {
        f"{column.name}/dfa" for column in COLUMNS if "resnet" in column.net
    }
