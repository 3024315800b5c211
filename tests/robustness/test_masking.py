import dataclasses

import pytest
import torch

from biograd.robustness.masking import Evidence, in_doubt, verdict


def right(share, n=1000):
    return torch.arange(n) < round(share * n)


SOUND = Evidence(
    fgsm={0.0: right(1), 0.1: right(0.5), 0.2: right(0.3)},
    pgd={0.0: right(1), 0.1: right(0.4), 0.2: right(0.1)},
    black_box={"square": {0.0: right(1), 0.1: right(0.6), 0.2: right(0.2)}},
    own={"pgd by the rule's feedback": {0.0: right(1), 0.1: right(0.7), 0.2: right(0.5)}},
    large=(0.5, right(0)),
    zero_gradients=right(0.01),
)


def with_changes(**changes):
    found = verdict(dataclasses.replace(SOUND, **changes))
    return found["masking"], found["reasons"]


def test_nothing_is_suspected_where_every_check_passes():
    assert with_changes() == ("not seen", [])
    assert [check["passed"] for check in verdict(SOUND)["checks"]] == [True] * 4
    assert in_doubt(SOUND) == []


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
        ({"fgsm": {0.1: ~right(0.7), 0.2: right(0.3)}}, "FGSM leaves 30.0% right at ε 0.1, PGD 40.0%"),
        ({"large": (0.5, ~right(0.9)), "pgd": {0.1: ~right(0.6), 0.2: ~right(0.9)}}, "PGD leaves 10.0% right at ε 0.5"),
        ({"zero_gradients": right(0.08)}, "8.0% of the inputs have no gradient"),
    ],
)  # fmt: skip
def test_each_check_alone_raises_a_suspicion(changes, reason):
    evidence = {"fgsm": {0.1: right(1), 0.2: right(1)}, **changes} if "large" in changes else changes
    masking, reasons = with_changes(**evidence)
    assert masking == "suspected"
    assert reason in reasons


def alike(n, hidden):
    """PGD that another attack beats on so many of the examples."""
    return {
        "fgsm": {0.1: right(1, n)},
        "pgd": {0.1: right(hidden / n, n)},
        "black_box": {"square": {0.1: right(0, n)}},
        "own": {},
        "large": (0.1, right(0, n)),
        "zero_gradients": right(0, n),
    }


@pytest.mark.parametrize(
    ("n", "hidden", "expected"),
    [
        (1000, 50, "not seen"),  # five in a hundred are small, whatever chance would do
        (1000, 51, "suspected"),
        (50, 1, "not seen"),  # at most 9.1 %, but in one of twenty cases
        (50, 2, "not decided"),  # 12 %
        (50, 6, "not decided"),  # chance does as much in 1.6 % of all cases
        (50, 7, "suspected"),  # in 0.8 %
    ],
)
def test_a_difference_is_suspected_where_it_is_neither_small_nor_chance(n, hidden, expected):
    assert with_changes(**alike(n, hidden))[0] == expected


def test_of_more_comparisons_each_has_to_show_more():
    """Seven of fifty once are seldom; the same in one of ten comparisons is not."""
    evidence = alike(50, 7)
    evidence["own"] = {f"attack {number}": {0.1: right(1, 50)} for number in range(9)}
    assert with_changes(**evidence)[0] == "not decided"


def test_examples_that_only_pgd_finds_are_held_against_those_that_only_the_other_finds():
    """Sixty found by one alone and sixty by the other: two attacks alike."""
    black_box = {"square": {0.1: right(0.46) & ~right(0.06)}}
    pgd = {0.1: right(0.4), 0.2: right(0.1)}
    assert with_changes(pgd=pgd, black_box=black_box)[0] == "not seen"


def test_what_a_small_ball_holds_lies_in_a_larger_one():
    pgd = {0.1: right(0), 0.2: right(0.3)}
    assert with_changes(pgd=pgd, large=(0.5, right(0.3))) == ("not seen", [])


def test_a_second_look_that_finds_what_the_others_find_takes_the_suspicion_back():
    doubtful = {"black_box": {"square": {0.1: right(0.3), 0.2: right(0.2)}}}
    evidence = dataclasses.replace(SOUND, **doubtful)
    assert in_doubt(evidence) == [0.1]
    assert with_changes(**doubtful, second_look={0.1: right(0.31)})[0] == "not seen"
    assert with_changes(**doubtful, second_look={0.1: right(0.4)})[0] == "suspected"


def test_a_large_size_at_which_something_is_right_is_looked_at_again():
    above = {
        "fgsm": {0.1: right(1)},
        "pgd": {0.1: right(0.9)},
        "black_box": {"square": {0.1: right(1)}},
        "own": {},
    }
    evidence = dataclasses.replace(SOUND, **above, large=(0.5, right(0.5)))
    assert in_doubt(evidence) == [0.5]
    assert verdict(evidence)["masking"] == "suspected"
    assert verdict(dataclasses.replace(evidence, second_look={0.5: right(0.02)}))["masking"] == "not seen"


@pytest.mark.parametrize(
    ("share", "expected"), [(0.05, "not seen"), (0.067, "not seen"), (0.068, "suspected")]
)
def test_five_percent_without_a_gradient_are_not_more_unless_beyond_chance(share, expected):
    """Chance makes 68 of a thousand from a share of 5 % in less than one of a hundred cases."""
    assert with_changes(zero_gradients=right(share))[0] == expected


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"black_box": {}}, "beside it an attack without"),
        ({"fgsm": None}, "not both measured"),
        ({"large": None}, "not measured at a large ε"),
        ({"zero_gradients": None}, "the true gradient was not measured"),
    ],
)
def test_a_check_that_was_not_made_leaves_the_verdict_open(missing, reason):
    masking, reasons = with_changes(**missing)
    assert masking == "not decided"
    assert len(reasons) == 1
    assert reason in reasons[0]


def test_a_suspicion_stands_whatever_was_not_made():
    assert with_changes(zero_gradients=right(0.5), black_box={})[0] == "suspected"


def test_fgsm_alone_is_too_weak_for_another_attack_to_say_anything():
    stronger = {"square": {0.1: right(0.05), 0.2: right(0.03)}}
    assert with_changes(pgd=None, large=None, black_box=stronger)[0] == "not decided"
    assert in_doubt(dataclasses.replace(SOUND, pgd=None, large=None, black_box=stronger)) == []


def test_nothing_but_clean_examples_decides_nothing():
    at_zero = {0.0: right(1)}
    masking, _ = with_changes(fgsm=at_zero, pgd=at_zero, black_box={"square": at_zero}, own={})
    assert masking == "not decided"
