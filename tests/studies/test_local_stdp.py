"""The study compares what it says it compares."""

import pytest

from biograd.studies.cells import configuration
from biograd.studies.local_stdp import DIGITS, RULE, SPECIES, local_stdp
from biograd.studies.study import BUDGETS

STUDY = local_stdp()


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_cell_is_a_configuration(budget):
    cells = [cell for cell in STUDY.cells if cell.budget(budget)]
    configs = [configuration(cell, budget, 0, {"device": "cpu"}) for cell in cells]
    assert len({config.digest() for config in configs}) == len(cells)


def test_the_rule_and_backpropagation_differ_in_nothing_but_the_rule():
    by_name = {cell.name: configuration(cell, "full", 0, {}) for cell in STUDY.cells}
    pairs = [(config, by_name[name.replace(RULE, "bp")]) for name, config in by_name.items() if RULE in name]
    assert len(pairs) == len(SPECIES) + len(DIGITS) + 2
    for ours, theirs in pairs:
        alike = {"rule", "label"}
        assert ours.to_json() | dict.fromkeys(alike) == theirs.to_json() | dict.fromkeys(alike)
        assert (ours.rule.name, theirs.rule.name) == (RULE, "bp")


def test_the_full_budget_is_what_the_claims_ask_for():
    budgets = {cell.name: cell.full for cell in STUDY.cells if cell.label in (RULE, "bp")}
    assert {budget.seeds for name, budget in budgets.items() if name.startswith("iris/")} == {10}
    on_mnist = [budget for name, budget in budgets.items() if name.startswith("mnist/")]
    assert {budget.seeds for budget in on_mnist} == {3}
    assert max(budget.epochs for budget in on_mnist) <= 5


def test_groups_of_one_class_against_the_rest_hold_all_classes():
    sizes = {group.name: len(STUDY.cells_of(group)) for group in STUDY.groups}
    assert {size for name, size in sizes.items() if name.startswith("Iris")} == {3}
    assert {size for name, size in sizes.items() if name.startswith("MNIST digit")} == {10}
