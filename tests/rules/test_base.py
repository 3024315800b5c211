"""What every rule must bring, and what goes wrong without it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.rules.block_rule import BlockRule
from biograd.rules.feedback_rule import FeedbackRule


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        (biograd.Rule, "assign_credit"),
        (FeedbackRule, "feedback"),
        (BlockRule, "teaching_signals"),
    ],
)
def test_a_rule_that_lacks_its_one_method_is_refused_when_it_is_made(kind, missing):
    class Unfinished(kind):
        pass

    with pytest.raises(TypeError, match=f"abstract.*{missing}"):
        Unfinished(nn.Sequential(nn.Linear(3, 2)))


@pytest.mark.parametrize("name", ["fa", "usf", "frsf", "kp"])
def test_a_batch_without_examples_teaches_nothing_and_breaks_nothing(name):
    net = nn.Sequential(nn.Linear(3, 300), nn.Tanh(), nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 2))
    rule = biograd.rules.create(name, net)
    rule.assign_credit(net, torch.ones(0, 3), torch.ones(0, 2), nn.MSELoss(reduction="sum"))
    assert all(p.grad is not None and not p.grad.any() for p in net.parameters())


@pytest.mark.parametrize("name", ["bp", "fa", "dfa", "gait-prop", "stdp-association"])
def test_a_loss_that_overwrites_the_output_is_refused_in_a_line(name):
    net, x, y = (
        nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
        torch.ones(5, 3),
        torch.arange(5) % 2,
    )
    rule = biograd.rules.create(name, net)
    with pytest.raises(
        biograd.UserMistake, match="the loss overwrites the net's output: let it make a new tensor"
    ):
        rule.assign_credit(net, x, y, lambda output, y: F.cross_entropy(output.mul_(2), y))
    assert all(p.grad is None for p in net.parameters())
