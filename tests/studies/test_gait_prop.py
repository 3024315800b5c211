"""The study tells what is the rule's from what is its penalty's."""

import pytest

from biograd.studies.cells import configuration
from biograd.studies.gait_prop import PENALISED, TASKS, gait_prop
from biograd.studies.study import BUDGETS

STUDY = gait_prop()
CELLS = {cell.name: cell for cell in STUDY.cells}


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_cell_is_a_configuration(budget):
    cells = [cell for cell in STUDY.cells if cell.budget(budget)]
    configs = [configuration(cell, budget, 0, {"device": "cpu"}) for cell in cells]
    assert len({config.digest() for config in configs}) == len(cells) > 0


def test_backpropagation_stands_beside_the_rule_with_the_same_penalty_and_without():
    for task in TASKS:
        plain, penalised, rule = (
            configuration(CELLS[f"{task.name}/{label}"], "paper", 0, {"device": "cpu"}).to_json()
            for label in ("bp", PENALISED, "gait-prop")
        )
        names = (plain["penalty"]["name"], plain["rule"]["name"], penalised["rule"]["name"])
        assert names == ("none", "bp", "bp")
        assert rule["rule"]["name"] == "gait-prop"
        for key in plain.keys() - {"label", "rule", "penalty"}:
            assert plain[key] == penalised[key] == rule[key], key
        assert penalised["penalty"] == rule["penalty"] != plain["penalty"]


def test_penalties_are_the_papers_in_units_of_the_mean_loss():
    strengths = {
        name: configuration(cell, "paper", 0, {"device": "cpu"}).penalty.settings.get("strength")
        for name, cell in CELLS.items()
    }
    # beside half the gradient of the squared error; beside gradients summed over a batch of 256
    assert strengths["mnist-square/gait-prop"] == 2 * 0.1
    assert strengths["mnist-square/tp"] == 2 * 1000
    assert strengths["cifar-deep/gait-prop"] == pytest.approx(100 / 256, abs=1e-3)
    assert strengths["imagenet/gait-prop"] == pytest.approx(1 / 256, abs=1e-5)
