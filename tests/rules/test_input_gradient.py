import contextlib
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import UnsupportedNet, rules
from biograd.layers import FirstUnits
from biograd.rules import REGISTRY
from biograd.rules.base import Credit, Rule

torch.manual_seed(0)
X, Y = torch.randn(6, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture
def net():
    torch.manual_seed(1)
    layers = [nn.Linear(8, 8, bias=False), nn.LeakyReLU(0.3), nn.Linear(8, 8, bias=False), nn.LeakyReLU(0.3)]
    return nn.Sequential(*layers, nn.Linear(8, 8, bias=False), FirstUnits(3)).double()


def true_gradient(net, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(net(x), y), x)[0]


def of_rule(rule, net):
    return rule.input_gradient(net, X, Y, F.cross_entropy)


def test_backpropagation_gives_the_true_gradient(net):
    assert torch.equal(of_rule(rules.create("bp", net), net), true_gradient(net, X, Y))


def test_feedback_goes_through_the_feedback_weights_of_every_layer(net):
    rule = rules.create("fa", net)
    B = rule.feedback_matrices(net)
    z1 = X @ net[0].weight.T
    z2 = F.leaky_relu(z1, 0.3) @ net[2].weight.T
    delta = torch.zeros(6, 8, dtype=torch.float64)
    delta[:, :3] = (torch.softmax(net(X), 1) - F.one_hot(Y, 3)).detach() / 6
    delta = delta @ B["4.weight"] * torch.where(z2 > 0, 1.0, 0.3)
    delta = delta @ B["2.weight"] * torch.where(z1 > 0, 1.0, 0.3)
    torch.testing.assert_close(of_rule(rule, net), delta @ B["0.weight"])


def test_a_teaching_signal_goes_on_through_the_first_block(net):
    rule = rules.create("dfa", net, sample=X[:1])
    h = F.leaky_relu(X @ net[0].weight.T, 0.3)
    error = (torch.softmax(net(X), 1) - F.one_hot(Y, 3)).detach() / 6
    _, signal = rule.direct(error, [h, h])  # from the last hidden block down
    expected = (signal * torch.where(h > 0, 1.0, 0.3)) @ net[0].weight
    torch.testing.assert_close(of_rule(rule, net), expected)


def test_a_local_rules_drive_signal_goes_on_through_the_layer_that_made_the_drive(net):
    rule = rules.create("stdp-association", net)
    taught = copy.deepcopy(net)
    rule.assign_credit(taught, X, Y, F.cross_entropy)
    signal = taught[0].weight.grad @ torch.linalg.pinv(X)  # the update is signalᵀ X: solve for the signal
    torch.testing.assert_close(of_rule(rule, net), signal.T @ net[0].weight)


def test_with_no_hidden_block_every_rule_that_has_a_path_gives_the_true_gradient():
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 3)).double()
    for name in ("bp", "dfa", "stdp-association"):
        torch.testing.assert_close(
            of_rule(rules.create(name, net, sample=X[:1]), net), true_gradient(net, X, Y)
        )


@pytest.mark.parametrize("name", REGISTRY.names())
def test_asking_leaves_no_trace_and_gives_the_same_again(net, name):
    try:
        rule = rules.create(name, net, sample=X[:1])
    except UnsupportedNet as reason:
        pytest.skip(f"it needs a net of its own: {reason}")
    random, state = torch.get_rng_state(), copy.deepcopy(rule.state_dict())
    weights = copy.deepcopy(net.state_dict())
    x = X.clone()
    with contextlib.suppress(UnsupportedNet):
        first, second = (rule.input_gradient(net, x, Y, F.cross_entropy) for _ in range(2))
        assert torch.equal(first, second)
        assert first.shape == X.shape
        assert first.abs().sum() > 0
        assert not first.requires_grad
    assert torch.equal(x, X)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in [*net.parameters(), *rule.parameters()])
    torch.testing.assert_close(rule.state_dict(), state, rtol=0, atol=0)
    torch.testing.assert_close(net.state_dict(), weights, rtol=0, atol=0)


class Own(Rule):
    """A rule of someone else's, which says nothing of its feedback."""

    def assign_credit(self, net, x, y, loss_fn):
        return Credit(torch.tensor(0.0), net(x))


@pytest.mark.parametrize("make", [lambda net: rules.create("shallow", net), lambda net: Own()])
def test_a_rule_without_a_path_says_so(net, make):
    with pytest.raises(UnsupportedNet, match="no feedback path to the input"):
        of_rule(make(net), net)


def test_a_first_layer_that_works_in_place_leaves_the_input_alone():
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    for name in ("bp", "fa", "dfa", "stdp-association"):
        x = X.clone()
        gradient = rules.create(name, net, sample=X[:1]).input_gradient(net, x, Y, F.cross_entropy)
        assert torch.equal(x, X)
        assert (gradient[X < 0] == 0).all()
