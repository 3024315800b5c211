"""The equation of stdp-association, worked out neuron by neuron in NumPy."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import biograd
from tests.equations.chains import CHAINS, make
from tests.equations.plain import WEIGHT_LAYERS, cross_entropy_error, forward, taught_by_signals
from tests.equations.test_rule_equations import assert_gradients


def told(z, wanted, beta, scale, is_competing):
    """−s n_g softmax_g(β z)_j (r*_j − σ(z_j)) / batch for every neuron, (batch, neurons, positions)."""
    groups = wanted.shape[1]
    members = [[j for j in range(z.shape[1]) if j % groups == g] for g in range(groups)]
    signal = np.zeros_like(z)
    for n, j, p in np.ndindex(*z.shape):
        group = members[j % groups]
        first = math.exp(beta * z[n, j, p]) / sum(math.exp(beta * z[n, k, p]) for k in group)
        share = len(group) * first if is_competing else 1
        taught = wanted[n, j % groups] - 1 / (1 + math.exp(-z[n, j, p]))
        signal[n, j, p] = -scale * share * taught / len(z)
    return signal


@pytest.mark.parametrize(
    "settings", [{}, {"beta": 0.7, "teaching_scale": 3.0, "group_size": 2}, {"competition": False}]
)
@pytest.mark.parametrize("name", CHAINS)
def test_every_layer_follows_the_equation(name, settings):
    chain = make(name)
    rule = biograd.StdpAssociation(chain.net, chain.x[:1], seed=5, **settings)
    rule.assign_credit(chain.net, chain.x, chain.y, F.cross_entropy)
    steps = forward(chain.net, chain.x)
    *hidden, last = [[step] for step in steps if isinstance(step.layer, WEIGHT_LAYERS)]
    signals = []
    for index, (step,) in enumerate(hidden):
        z = step.y.reshape(*step.y.shape[:2], -1)  # (batch, neurons, positions)
        wanted = rule.codes(index).numpy()[chain.y.numpy()]
        chosen = (
            settings.get("beta", 2.0),
            settings.get("teaching_scale", 0.05),
            settings.get("competition", True),
        )
        signals.append(told(z, wanted, *chosen).reshape(step.y.shape))
    e = cross_entropy_error(steps[-1].y, chain.y)
    assert_gradients(chain.net, taught_by_signals([*hidden, last], [*signals, e]))


def test_a_normalisation_right_behind_a_layer_belongs_to_the_drive():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 6), torch.nn.BatchNorm1d(6), torch.nn.Tanh(), torch.nn.Linear(6, 3)
    ).double()
    x, y = torch.randn(8, 5, dtype=torch.float64), torch.randint(3, (8,))
    rule = biograd.StdpAssociation(net, x[:1])
    rule.assign_credit(net, x, y, F.cross_entropy)
    z = net[:2](x)
    expected = torch.autograd.grad(
        z,
        [*net[:2].parameters()],
        torch.from_numpy(
            told(z.detach().numpy()[..., None], rule.codes(0)[y].numpy(), 2.0, 0.05, True)[..., 0]
        ),
    )
    for parameter, gradient in zip(net[:2].parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-12)


def test_without_sharpness_all_neurons_of_a_group_learn_as_without_competition():
    chain = make("mlp")
    gradients = []
    for settings in ({"beta": 0.0}, {"competition": False}):
        chain.net.zero_grad()
        rule = biograd.StdpAssociation(chain.net, group_size=4, seed=2, **settings)
        rule.assign_credit(chain.net, chain.x, chain.y, F.cross_entropy)
        gradients.append([p.grad.clone() for p in chain.net.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_mixed_classes_ask_for_mixed_rates():
    chain = make("mlp")
    rule = biograd.StdpAssociation(chain.net, seed=2)
    weights = {"hard": chain.y, "soft": F.one_hot(chain.y, 3).double()}
    gradients = {}
    for kind, y in weights.items():
        chain.net.zero_grad()
        rule.assign_credit(chain.net, chain.x, y, F.cross_entropy)
        gradients[kind] = [p.grad.clone() for p in chain.net.parameters()]
    for hard, soft in zip(gradients["hard"], gradients["soft"], strict=True):
        torch.testing.assert_close(hard, soft, rtol=1e-12, atol=1e-14)
