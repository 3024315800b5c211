"""Auxiliary units: which units go on, what errors reach, and how rules see the layer."""

import pytest
import torch
from torch import nn

from biograd import rules
from biograd.credit.chain.blocks import blocks
from biograd.errors import UserMistake
from biograd.layers import FirstUnits


@pytest.mark.parametrize("shape", [(3, 7), (3, 7, 4, 5), (0, 7), (3, 2), (3, 2, 1, 1)])
def test_the_first_units_or_channels_go_on_as_they_are(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    y = FirstUnits(2)(x)
    assert y.shape == (shape[0], 2, *shape[2:])
    assert torch.equal(y, x.narrow(1, 0, 2))


def test_no_error_reaches_the_units_left_behind():
    x = torch.ones(2, 4, requires_grad=True)
    FirstUnits(3)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 1, 1, 0]] * 2


def test_it_has_no_parameters_and_shows_its_count():
    assert list(FirstUnits(3).state_dict()) == []
    assert repr(FirstUnits(3)) == "FirstUnits(3)"


@pytest.mark.parametrize("shape", [(3,), (5, 2), (5, 2, 9, 9)])
def test_too_few_units_or_no_batch_are_refused(shape):
    with pytest.raises(UserMistake, match=r"FirstUnits\(3\) needs a batch .* of at least 3 units, got \("):
        FirstUnits(3)(torch.zeros(shape))


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(count):
    with pytest.raises(UserMistake, match=f"count must be at least 1, got {count}"):
        FirstUnits(count)


def narrowing():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 8, 2),
        nn.LeakyReLU(0.1),
        FirstUnits(3),
        nn.Flatten(),
        nn.Linear(12, 12),
        FirstUnits(5),
    ]
    return nn.Sequential(*layers)


def test_it_belongs_to_the_block_before_it():
    kinds = [[type(layer).__name__ for layer in block.layers] for block in blocks(narrowing())]
    assert kinds == [["Conv2d", "LeakyReLU", "FirstUnits"], ["Flatten", "Linear", "FirstUnits"]]


@pytest.mark.parametrize("name", ["bp", "fa", "dfa"])
def test_rules_teach_the_units_passed_on_and_leave_the_others(name):
    net, x, y = narrowing(), torch.randn(4, 2, 3, 3), torch.tensor([0, 1, 2, 4])
    rule = rules.create(name, net, sample=x[:1])
    rule.assign_credit(net, x, y, nn.functional.cross_entropy)
    for weight, used in ((net[0].weight, 3), (net[4].weight, 5)):
        moved = weight.grad.flatten(1).abs().amax(1) > 0
        assert moved.tolist() == [True] * used + [False] * (len(weight) - used)
