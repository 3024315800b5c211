"""A setting that is unknown or out of range ends in one line, however the rule is made."""

from typing import Any

import pytest
import torch
from torch import nn

import biograd
from biograd import rules

NET = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))

CLASSES = {
    "fa": biograd.FeedbackAlignment,
    "usf": biograd.UniformSignConcordant,
    "brsf": biograd.BatchwiseRandomSignConcordant,
    "frsf": biograd.FixedRandomSignConcordant,
    "kp": biograd.KolenPollack,
    "wm": biograd.WeightMirror,
    "dfa": biograd.DirectFeedbackAlignment,
    "drtp": biograd.DirectRandomTargetProjection,
}

BAD = [
    *(
        (name, {"scale": value})
        for name in CLASSES
        for value in (-1.0, 0.0, "wide", float("nan"), float("inf"))
    ),
    *((name, {"seed": value}) for name in CLASSES if name != "usf" for value in (-1, 0.5, "x")),
    *((name, {"distribution": "cauchy"}) for name in ("fa", "brsf", "frsf", "kp", "wm")),
    *((name, {"form": "sparse"}) for name in ("dfa", "drtp")),
    *(("wm", {name: -0.1}) for name in ("mirror_rate", "mirror_decay", "noise", "anneal_to")),
    *(("wm", {name: 1.5}) for name in ("mirror_decay", "anneal_to")),
    *(("wm", {name: 0}) for name in ("every", "phases")),
]


@pytest.mark.parametrize(("name", "settings"), BAD, ids=str)
def test_a_value_out_of_range_is_a_mistake_told_in_one_line_that_names_the_setting(name, settings):
    (setting,) = settings
    for make in (lambda: rules.create(name, NET, **settings), lambda: CLASSES[name](NET, **settings)):
        with pytest.raises(biograd.UserMistake, match=f"setting '{setting}' got") as caught:
            make()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", rules.names())
def test_an_unknown_setting_is_a_mistake_told_in_one_line_with_those_there_are(name):
    with pytest.raises(
        biograd.UserMistake, match=f"rule '{name}' has no setting 'sclae'; its settings: "
    ) as caught:
        rules.create(name, NET, sclae=1.0)
    assert "\n" not in str(caught.value)


def test_text_as_a_command_line_gives_it_is_converted():
    rule: Any = rules.create("fa", NET, scale="0.5", seed="3", exact="0,2.bias")
    same = biograd.FeedbackAlignment(NET, scale=0.5, seed=3, exact=("0", "2.bias"))
    assert rule.names == same.names == ["2.weight"]
    assert torch.equal(rule.B["2.weight"], same.B["2.weight"])


def test_a_dash_in_a_setting_is_an_underscore():
    settings: Any = {"mirror-rate": 0.1}
    rules.create("wm", NET, **settings)


@pytest.mark.parametrize("wrong", ["fa2", "DFA", "backprop", ""])
def test_an_unknown_rule_is_a_mistake_told_in_one_line_with_those_there_are(wrong):
    with pytest.raises(biograd.UserMistake, match=f"unknown rule '{wrong}'.*Known: bp, fa, dfa") as caught:
        rules.create(wrong, NET)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["dfa", "drtp"])
@pytest.mark.parametrize("rank", [0, -2, 1.5])
def test_a_rank_out_of_range_is_a_mistake_told_in_one_line(name, rank):
    with pytest.raises(biograd.UserMistake, match=f"form 'low-rank': setting 'rank' got {rank}") as caught:
        rules.create(name, NET, form={"name": "low-rank", "rank": rank})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["dfa", "drtp"])
@pytest.mark.parametrize("form", ["full", "tiled"])
def test_a_rank_without_the_low_rank_form_is_refused(name, form):
    with pytest.raises(biograd.UserMistake, match=f"form '{form}'.*rank"):
        biograd.rules.create(name, nn.Sequential(nn.Linear(2, 2)), form={"name": form, "rank": 3})
