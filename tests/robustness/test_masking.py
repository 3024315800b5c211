import dataclasses

import pytest
import torch

from biograd.robustness.masking import Evidence, verdict


def right(share, n=1000):
    return torch.arange(n) < share * n


SOUND = Evidence(
    fgsm={0.0: right(1), 0.1: right(0.5), 0.2: right(0.3)},
    pgd={0.0: right(1), 0.1: right(0.4), 0.2: right(0.1)},
    black_box={"square": {0.0: right(1), 0.1: right(0.6), 0.2: right(0.2)}},
    own={"pgd by the rule's feedback": {0.0: right(1), 0.1: right(0.7), 0.2: right(0.5)}},
    large=(0.5, right(0)),
    zero_gradients=0.01,
)


def with_changes(**changes):
    found = verdict(dataclasses.replace(SOUND, **changes))
    return found["masking"], found["reasons"]


def test_nothing_is_suspected_where_every_check_passes():
    assert with_changes() == ("not seen", [])
    assert [check["passed"] for check in verdict(SOUND)["checks"]] == [True] * 4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"black_box": {"square": {0.1: right(0.3), 0.2: right(0.2)}}},
            "square leaves 30.0% right at ε 0.1, the true gradient 40.0%",
        ),
        (
            {"black_box": {"transfer from bp/seed1": {0.1: right(0.6), 0.2: right(0.02)}}},
            "transfer from bp/seed1 leaves 2.0% right at ε 0.2, the true gradient 10.0%",
        ),
        (
            {"own": {"fgsm by the rule's feedback": {0.1: right(0.2), 0.2: right(0.1)}}},
            "fgsm by the rule's feedback leaves 20.0% right at ε 0.1, the true gradient 40.0%",
        ),
        ({"fgsm": {0.1: right(0.3), 0.2: right(0.3)}}, "FGSM leaves 30.0% right at ε 0.1, PGD 40.0%"),
        ({"large": (0.5, right(0.06))}, "PGD leaves 6.0% right at ε 0.5"),
        ({"zero_gradients": 0.06}, "6.0% of the inputs have no gradient"),
    ],
)
def test_each_check_alone_raises_a_suspicion(changes, reason):
    assert with_changes(**changes) == ("suspected", [reason])


def test_a_difference_within_two_standard_errors_is_none():
    """Three of a thousand, all of one sign, are 1.7 standard errors; five are 2.2."""
    for fewer, expected in ((0.097, "not seen"), (0.095, "suspected")):
        black_box = {"square": {0.1: right(0.4), 0.2: right(fewer)}}
        assert with_changes(black_box=black_box)[0] == expected


def test_exactly_two_standard_errors_are_none_either():
    """Two of four, all of one sign: mean ½, standard deviation ½, standard error ¼."""
    half, none = torch.tensor([True, True, False, False]), torch.zeros(4, dtype=torch.bool)
    for changes in (
        {"pgd": {0.1: half}, "fgsm": {0.1: none}, "black_box": {"square": {0.1: half}}, "own": {}},
        {"pgd": {0.1: half}, "fgsm": {0.1: half}, "black_box": {"square": {0.1: none}}, "own": {}},
    ):
        assert with_changes(**changes) == ("not seen", [])


@pytest.mark.parametrize("changes", [{"large": (0.5, right(0.05))}, {"zero_gradients": 0.05}])
def test_exactly_five_percent_are_not_more(changes):
    assert with_changes(**changes) == ("not seen", [])


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"black_box": {}}, "beside one without"),
        ({"fgsm": None}, "not both measured"),
        ({"large": None}, "not measured at a large ε"),
        ({"zero_gradients": None}, "the true gradient was not measured"),
    ],
)
def test_a_check_that_was_not_made_leaves_the_verdict_open(missing, reason):
    masking, reasons = with_changes(**missing)
    assert masking == "unclear"
    assert len(reasons) == 1
    assert reason in reasons[0]


def test_a_suspicion_stands_whatever_was_not_made():
    assert with_changes(zero_gradients=0.5, black_box={})[0] == "suspected"


def test_without_pgd_the_black_box_is_held_against_fgsm():
    masking, reasons = with_changes(
        pgd=None, large=None, black_box={"square": {0.1: right(0.45), 0.2: right(0.3)}}
    )
    assert masking == "suspected"
    assert reasons[0] == "square leaves 45.0% right at ε 0.1, the true gradient 50.0%"


def test_nothing_but_clean_examples_decides_nothing():
    at_zero = {0.0: right(1)}
    masking, _ = with_changes(fgsm=at_zero, pgd=at_zero, black_box={"square": at_zero}, own={})
    assert masking == "unclear"
