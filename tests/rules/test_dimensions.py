"""Locally connected layers over one and three dimensions are taught as those over two."""

from math import prod

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import layers, rules
from biograd.layers import LocallyConnected2d


def over(net, dimensions, sample):
    """A net with its locally connected layers over so many dimensions, of which but one have size 1; and its sample.

    The places of a map stand in one row: kernel, stride and size are as long as those of two dimensions are large.
    """

    def along(number, *others):
        return (number, *(others or (1,)) * (dimensions - 1))

    x = made = sample.flatten(2).unflatten(2, along(-1))
    twin = []
    for layer in net:
        if isinstance(layer, LocallyConnected2d):
            kind = getattr(layers, f"LocallyConnected{dimensions}d")
            kernel, stride = (along(prod(sides)) for sides in (layer.kernel_size, layer.stride))
            padding = along(3 * layer.padding[0], 0)
            shape = (layer.in_channels, layer.out_channels, kernel, tuple(made.shape[2:]), stride, padding)
            layer = kind(*shape, bias=layer.bias is not None)
            for position in layer.layout.filters(layer.weight.detach()):
                nn.init.orthogonal_(position)  # as inverses need them
        elif isinstance(layer, nn.Linear) and made.shape[1] != layer.in_features:
            layer = nn.Linear(made.shape[1], layer.out_features, layer.bias is not None)
        twin.append(layer)
        made = layer(made)
    return nn.Sequential(*twin), x


@pytest.mark.parametrize("name", rules.names())
def test_every_rule_teaches_them_what_it_teaches_the_layer_over_two_dimensions(name):
    task = rules.REGISTRY.find(name).examples.tasks["locally-connected"]
    x, y = task.batch(6, 0)
    found = {}
    for dimensions in (1, 2, 3):
        torch.manual_seed(0)
        net, seen = over(task.net(), dimensions, x)
        net, seen = net.double(), seen.double()
        rule = rules.create(name, net, sample=seen[:1])
        for _ in range(2):
            rule.assign_credit(net, seen, y, F.cross_entropy)
        parameters = [*net.named_parameters(), *rule.named_parameters()]
        found[dimensions] = {n: p.grad.flatten() for n, p in parameters if p.grad is not None}
    assert found[2]
    assert any(gradient.any() for gradient in found[2].values())
    torch.testing.assert_close(found[1], found[2])
    torch.testing.assert_close(found[3], found[2])
