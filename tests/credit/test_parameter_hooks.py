"""Hooks on parameters wait until gradients are handed over, and are as they were afterwards."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.credit.chain.parameter_hooks import without_parameter_hooks
from biograd.layers import LabelPlaces, LengthNorm


def hooked(order):
    parameter = nn.Parameter(torch.ones(2))
    for name in "abc":
        parameter.register_hook(lambda _, name=name: order.append(name))
    return parameter


def test_hooks_wait_inside_and_run_in_their_order_afterwards():
    order = []
    parameter = hooked(order)
    with without_parameter_hooks([parameter]):
        torch.autograd.grad(parameter.sum(), [parameter])
    assert not order
    parameter.sum().backward()
    assert order == ["a", "b", "c"]


def test_hooks_are_back_after_an_exception():
    order = []
    parameter = hooked(order)
    with pytest.raises(KeyError), without_parameter_hooks([parameter]):
        raise KeyError
    parameter.sum().backward()
    assert order == ["a", "b", "c"]


def test_a_hook_can_be_removed_afterwards_by_its_handle():
    parameter, seen = nn.Parameter(torch.ones(2)), []
    handle = parameter.register_hook(seen.append)
    with without_parameter_hooks([parameter]):
        pass
    handle.remove()
    parameter.sum().backward()
    assert not seen


def test_hooks_of_other_parameters_run():
    order = []
    waiting, other = hooked(order), hooked([])
    other.register_hook(lambda _: order.append("other"))
    with without_parameter_hooks([waiting]):
        torch.autograd.grad((waiting * other).sum(), [waiting, other])
    assert order == ["other"]


def shared(rule):
    """A net whose two hidden blocks share a weight, the weight and inputs, for a rule."""
    shows_labels = rule == "forward-forward"
    first, norms = ([LabelPlaces(3)], [LengthNorm()]) if shows_labels else ([], [])
    net = nn.Sequential(
        *first,
        *(nn.Linear(6, 6, bias=False), nn.Tanh()),
        *norms,
        *(nn.Linear(6, 6, bias=False), nn.Tanh()),
        nn.Linear(6, 3),
    )
    one, two, _ = [layer for layer in net if isinstance(layer, nn.Linear)]
    two.weight = one.weight
    return net.double(), one.weight, torch.rand(8, 3 if shows_labels else 6, dtype=torch.float64)


@pytest.mark.parametrize("rule", ["pepita", "stdp-association", "forward-forward", "dfa", "fa", "kp", "dtp"])
def test_a_weight_that_blocks_share_shows_its_hooks_the_whole_gradient_once(rule):
    (plain, expected, x), (net, weight, _), y = shared(rule), shared(rule), torch.arange(8) % 3
    net.load_state_dict(plain.state_dict())
    biograd.rules.create(rule, plain).assign_credit(plain, x, y, F.cross_entropy)
    seen = []
    weight.register_hook(lambda gradient: seen.append(gradient.clone()))
    weight.register_hook(lambda gradient: gradient / 2)
    biograd.rules.create(rule, net).assign_credit(net, x, y, F.cross_entropy)
    assert len(seen) == 1
    assert torch.equal(seen[0], expected.grad)
    assert torch.equal(weight.grad, expected.grad / 2)
