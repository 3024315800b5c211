"""The baseline that leaves hidden matrices as they are and teaches all else as backpropagation does."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd import nets
from biograd.errors import UnsupportedNet

X = torch.randn(4, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0])


def transformer():
    return nets.create("vit", (1, 4, 4), 3, seed=0, width=4, heads=2, depth=2).double()


def gradients(rule, net, **settings):
    net.zero_grad()
    rule.assign_credit(net, X, Y, F.cross_entropy, **settings)
    return {name: parameter.grad for name, parameter in net.named_parameters()}


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 0.0, 2.0, 0.5], dtype=torch.float64)])
def test_all_but_hidden_matrices_learn_what_backpropagation_teaches_them(weight):
    net = transformer()
    expected = gradients(biograd.Backpropagation(net), net, weight=weight)
    got = gradients(biograd.Frozen(net), net, weight=weight)
    still = {name for name, gradient in got.items() if gradient is None}
    assert still == {name for name, p in net.named_parameters() if name.startswith("layers") and p.dim() > 1}
    assert len(still) == 8
    for name in expected.keys() - still:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-12, atol=1e-15)


def test_hidden_matrices_require_gradients_as_before():
    net = transformer()
    net.layers[0].mlp.up.weight.requires_grad_(False)
    gradients(biograd.Frozen(net), net)
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["layers.0.mlp.up.weight"]


def test_another_net_is_refused():
    net = transformer()
    rule = biograd.Frozen(net)
    gradients(rule, net)
    with pytest.raises(UnsupportedNet, match=r"used on another net, which had 'layers\.0\.attention\.out"):
        rule.assign_credit(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double(), X, Y, F.cross_entropy)
