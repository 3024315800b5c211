"""Rules that teach layer by layer give by hand what they give through autograd."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import rules
from biograd.credit.by_hand.unit import Trace
from biograd.layers import LocallyConnected2d


def linear():
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(32, 20, bias=False), nn.Tanh(), nn.Linear(20, 17, bias=False), nn.ReLU()),
        nn.Linear(17, 4),
    )


def convolutional():
    return nn.Sequential(
        *(nn.Conv2d(2, 7, 3, stride=2, bias=False), nn.LeakyReLU(0.1)),
        *(LocallyConnected2d(7, 5, 1, (1, 1), bias=False), nn.Sigmoid(), nn.Flatten(), nn.Linear(5, 4)),
    )


def watched(net):
    """A copy whose layers have hooks, so that its derivatives go through autograd."""
    net = copy.deepcopy(net)
    for layer in net:
        layer.register_forward_hook(lambda layer, given, output: None)
    return net


def gradients(rule, net):
    x = torch.randn(6, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, w = torch.tensor([0, 1, 2, 3, 1, 0]), torch.linspace(0.5, 2, 6, dtype=torch.float64)
    for _ in range(2):
        rule.assign_credit(net, x, y, F.cross_entropy, weight=w)
    return [parameter.grad for parameter in net.parameters()]


@pytest.mark.parametrize("make", [linear, convolutional])
@pytest.mark.parametrize("name", ["stdp-association", "softhebb", "pepita"])
def test_gradients_by_hand_are_those_of_autograd(name, make, monkeypatch):
    torch.manual_seed(0)
    net = make().double()
    sample = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    of_autograd = gradients(rules.create(name, net, sample=sample), watched(net))
    taught = []

    def by_hand(trace, delta):
        taught.append(trace.unit.opening)
        return of_trace(trace, delta)

    of_trace = Trace.gradients
    monkeypatch.setattr(Trace, "gradients", by_hand)
    found = gradients(rules.create(name, net, sample=sample), net)
    assert taught == 2 * [layer for layer in net if layer._parameters]
    for one, other in zip(found, of_autograd, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["stdp-association", "softhebb", "pepita"])
def test_what_is_frozen_learns_nothing_by_hand(name):
    net = linear().double()
    rule = rules.create(name, net)
    net[3].weight.requires_grad_(False)
    *_, of_frozen, _, _ = gradients(rule, net)
    assert of_frozen is None
    assert net[1].weight.grad.any()
    assert net[5].bias.grad.any()
