"""Feedback rules on transformers: with B = W they are backpropagation, with other B another rule."""

import copy

import pytest
import torch
import torch.nn.functional as F

import biograd
from biograd import nets

TRANSFORMERS = {
    "vit": ((2, 4, 6), {"pooling": "mean"}),
    "vit with a class token": ((2, 4, 6), {"pooling": "token"}),
    "gpt": ((7,), {}),
    "gpt with a tied readout": ((7,), {"tied": True}),
}


def made(name):
    shape, settings = TRANSFORMERS[name]
    net = nets.create(
        name.partition(" ")[0], shape, 5, seed=0, width=8, heads=2, depth=2, **settings
    ).double()
    torch.manual_seed(1)
    if name.startswith("gpt"):
        return net, torch.randint(5, (3, 7)), torch.randint(5, (3, 7))
    return net, torch.randn(3, *shape, dtype=torch.float64), torch.randint(5, (3,))


def loss_fn(output, y):
    return F.cross_entropy(output.flatten(0, -2), y.flatten())


def gradients(rule, net, x, y):
    net = copy.deepcopy(net)
    rule.assign_credit(net, x, y, loss_fn)
    return {name: parameter.grad for name, parameter in net.named_parameters()}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_fa_with_B_equal_to_W_is_backpropagation(name):
    net, x, y = made(name)
    rule = biograd.FeedbackAlignment(net)
    random = gradients(rule, net, x, y)
    with torch.no_grad():
        for weight, B in rule.B.by_name().items():
            B.copy_(net.get_parameter(weight))
    exact = gradients(biograd.Backpropagation(net), net, x, y)
    for parameter, gradient in gradients(rule, net, x, y).items():
        torch.testing.assert_close(gradient, exact[parameter], rtol=1e-12, atol=1e-14)
    deep = "layers.0.attention.qkv.weight"
    assert not torch.allclose(random[deep], exact[deep], rtol=0.1)
