import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import nets, rules
from biograd.diagnostics import activities, measure


def root_mean_square(h):
    return h.double().square().mean().sqrt().item()


def test_it_is_the_root_mean_square_of_what_each_block_of_a_chain_gives():
    net = nets.create("vit", (1, 4, 4), 3, seed=0, width=4, heads=1, depth=2)
    x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    tokens = net.embed(x)
    first = net.layers[0](tokens)
    expected = {"embed": tokens, "layers.0": first, "layers.1": net.layers[1](first), "head": net(x)}
    found = activities(net, x)
    assert list(found) == list(expected)
    assert found == pytest.approx({name: root_mean_square(h) for name, h in expected.items()})


def test_a_block_ends_behind_its_nonlinearity_and_pooling():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2))
    x = torch.randn(3, 1, 5, 5)
    assert activities(net, x)["0"] == pytest.approx(root_mean_square(net[:3](x)))


class Forked(nn.Module):
    """No chain, one layer of which is used twice."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.b(torch.tanh(self.a(self.a(x))))


def test_of_another_net_it_is_of_the_layers_with_weights_at_their_last_use():
    torch.manual_seed(0)
    net, x = Forked(), torch.randn(4, 3)
    twice = net.a(net.a(x))
    expected = {"a": root_mean_square(twice), "b": root_mean_square(net.b(torch.tanh(twice)))}
    assert activities(net, x) == pytest.approx(expected)


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory, self.readout = nn.LSTM(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.readout(self.memory(x)[0])


def test_recurrent_layers_are_layers_with_weights():
    torch.manual_seed(0)
    net, x = Remembering(), torch.randn(5, 2, 3)
    h = net.memory(x)[0]
    expected = {"memory": root_mean_square(h), "readout": root_mean_square(net.readout(h))}
    assert activities(net, x) == pytest.approx(expected)


def test_nothing_is_left_behind():
    net = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(4, 2)
    )
    x, before, state = torch.randn(6, 4), copy.deepcopy(net.state_dict()), torch.get_rng_state()
    shown = x.clone()
    activities(net, x)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, shown)
    assert not any(module._forward_hooks for module in net.modules())


def test_it_is_among_what_is_measured():
    net, x, y = (
        nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)),
        torch.ones(2, 4),
        torch.tensor([0, 1]),
    )
    rows = measure(net, rules.create("bp", net), x, y, F.cross_entropy)
    found = {row["layer"]: row["value"] for row in rows if row["quantity"] == "activity"}
    assert found == activities(net, x)
