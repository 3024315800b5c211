import inspect
import json

import pytest

from biograd import UserMistake
from biograd.robustness import AttackSettings, pgd, square
from biograd.robustness.settings import ATTACKS, GRADIENTS


def test_names_and_sizes_are_put_in_order_and_taken_once():
    settings = AttackSettings(
        attacks=["pgd", "fgsm", "pgd"], gradients=["rule", "true"], epsilons=[0.2, 0, 0.2]
    )
    assert (settings.attacks, settings.gradients, settings.epsilons) == (
        ("fgsm", "pgd"),
        ("true", "rule"),
        (0, 0.2),
    )


def test_the_defaults_are_those_that_the_page_states_and_those_of_the_attacks():
    chosen = AttackSettings()
    assert (chosen.attacks, chosen.gradients, chosen.epsilons) == (ATTACKS, GRADIENTS, None)
    assert (chosen.steps, chosen.step_size, chosen.restarts) == (20, None, 1)
    assert (chosen.queries, chosen.examples, chosen.seed) == (500, 1000, 0)
    for attack, names in ((pgd, ("steps", "step_size", "restarts")), (square, ("queries",))):
        parameters = inspect.signature(attack).parameters
        assert {name: parameters[name].default for name in names} == {
            name: getattr(chosen, name) for name in names
        }
    assert inspect.signature(square).parameters["share"].default == 0.8  # the paper's


def test_the_least_of_each_is_taken():
    least = {"epsilons": (0.0,), "steps": 1, "restarts": 1, "queries": 2, "examples": 1, "seed": 0}
    chosen = AttackSettings(**least)
    assert {name: getattr(chosen, name) for name in least} == least


def test_a_record_can_hold_them():
    assert json.loads(json.dumps(AttackSettings(epsilons=[0.1]).to_json()))["epsilons"] == [0.1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attacks": ["deepfool"]}, "attacks: got 'deepfool', expected some of fgsm, pgd, square, transfer"),
        ({"attacks": []}, "attacks: got none"),
        ({"gradients": ["false"]}, "gradients: got 'false', expected some of true, rule"),
        ({"epsilons": []}, "epsilons are numbers ≥ 0, got none"),
        ({"epsilons": [0.1, -1]}, "epsilons are numbers ≥ 0, got -1"),
        ({"epsilons": [float("nan")]}, "got nan"),
        ({"steps": 0}, "steps is 0, expected at least 1"),
        ({"restarts": 0}, "restarts is 0"),
        ({"queries": 1}, "queries is 1, expected at least 2"),
        ({"examples": 0}, "examples is 0"),
        ({"seed": -1}, "seed is -1, expected at least 0"),
        ({"step_size": 0.0}, "step_size is 0.0, expected a number > 0"),
    ],
)
def test_values_out_of_range_are_refused(given, message):
    with pytest.raises(UserMistake, match=message):
        AttackSettings(**given)
