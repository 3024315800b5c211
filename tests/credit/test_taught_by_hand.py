"""Nets whose layers are all known are taught without autograd, and what autograd would notice is noticed."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import rules
from biograd.credit.by_hand.unit import Unit
from biograd.errors import UserMistake


def net_that_ends_in(nonlinearity):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nonlinearity).double()


def batch():
    torch.manual_seed(1)
    return torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)


def squared_error_in_place(output, y):
    return output.sub_(y).square().sum(1).mean()


@pytest.mark.parametrize("nonlinearity", [nn.Tanh(), nn.Sigmoid(), nn.ReLU(), nn.LeakyReLU(0.2)], ids=type)
def test_a_loss_that_overwrites_an_output_which_its_derivative_needs_is_refused(nonlinearity):
    net, (x, y) = net_that_ends_in(nonlinearity), batch()
    rule = rules.create("fa", net)
    rule.assign_credit(
        net, x, y, F.mse_loss
    )  # the first call looks at the loss on a leaf, which PyTorch refuses
    net.zero_grad()
    with pytest.raises(UserMistake, match="overwrites the net's output"):
        rule.assign_credit(net, x, y, squared_error_in_place)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_loss_may_overwrite_an_output_that_no_derivative_needs():
    net, (x, y) = net_that_ends_in(nn.Identity()), batch()
    rule, found = rules.create("fa", net), []
    for loss in (lambda output, y: (output - y).square().sum(1).mean(), squared_error_in_place):
        net.zero_grad()
        rule.assign_credit(net, x, y, loss)
        found.append([parameter.grad.clone() for parameter in net.parameters()])
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["fa", "kp", "dfa", "gait-prop", "stdp-association"])
def test_a_layer_that_holds_its_bias_before_its_weight_is_taught_the_same(name):
    found = []
    for is_reversed in (False, True):
        net, (x, _) = net_that_ends_in(nn.Identity()), batch()
        if is_reversed:  # as torch.nn.utils.parametrize and prune leave a layer that they are removed from
            net[2]._parameters["weight"] = net[2]._parameters.pop("weight")
        rule = rules.create(name, net).double()
        rule.assign_credit(net, x, torch.tensor([0, 1, 2, 0, 1, 2]), F.cross_entropy)
        found.append({name: parameter.grad for name, parameter in net.named_parameters()})
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_nothing_of_a_batch_is_left_where_the_loss_fails():
    net, (x, y) = net_that_ends_in(nn.Tanh()), batch()
    rule, held = rules.create("fa", net), []

    def failing(output, y):
        held.append(weakref.ref(output))
        raise ArithmeticError

    rule.assign_credit(net, x, y, F.mse_loss)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ArithmeticError):
            rule.assign_credit(net, x, y, failing)
        assert [output() for output in held] == [None]
    finally:
        gc.enable()


def test_every_block_of_a_chain_of_known_layers_is_a_unit(monkeypatch):
    ran = []
    plain = Unit.run
    monkeypatch.setattr(Unit, "run", lambda unit, x, **how: ran.append(unit.opening) or plain(unit, x, **how))
    net, (x, y) = net_that_ends_in(nn.Identity()), batch()
    for name in ("fa", "dfa"):
        rules.create(name, net).assign_credit(net, x, y, F.mse_loss)
    assert ran == [net[0], net[2]] * 2
