"""SoftHebb against its equation, worked out in NumPy example by example, position by position."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.layers import LocallyConnected2d


def mlp():
    net = nn.Sequential(
        *(nn.Linear(5, 6, bias=False), nn.Tanh(), nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 3))
    )
    return net, (7, 5)


def convolutional():
    net = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), nn.Tanh()),
        *(nn.Conv2d(4, 6, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)),
    )
    return net, (4, 2, 6, 6)


def locally_connected():
    net = nn.Sequential(
        *(LocallyConnected2d(2, 4, 3, (6, 6), stride=2, padding=1, bias=False), nn.Tanh()),
        *(LocallyConnected2d(4, 6, 2, (3, 3), bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3)),
    )
    return net, (4, 2, 6, 6)


NETS = {"mlp": mlp, "convolutional": convolutional, "locally connected": locally_connected}
every_net = pytest.mark.parametrize("name", NETS)


def make(name):
    """A net of hidden neurons of many norms, in float64, and a batch."""
    torch.manual_seed(5)
    net, shape = NETS[name]()
    for layer in net[:-1]:
        for weight in layer.parameters():
            weight.data *= 2
    return net.double(), torch.randn(shape, dtype=torch.float64), torch.randint(3, shape[:1])


def fields(layer, h):
    """All that the neurons of one place see, ``(place, batch, inputs)``; and their weights, ``(neurons, inputs)``.

    A linear layer has one place; those of a convolution share their weights.
    """
    W = layer.weight.detach().numpy()
    if isinstance(layer, nn.Linear):
        return [(h, W)]
    size, step, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    h = np.pad(h, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    count = (h.shape[2] - size) // step + 1
    found = []
    for i in range(count):
        for j in range(count):
            patch = h[:, :, i * step : i * step + size, j * step : j * step + size]
            filters = W[i, j].transpose(3, 2, 0, 1) if isinstance(layer, LocallyConnected2d) else W
            found.append((patch.reshape(len(h), -1), filters.reshape(filters.shape[0], -1)))
    return found


def updates(places, temperature, anti_hebbian):
    """The update of the neurons of every place, mean over the batch, one example and neuron after the other."""
    found = []
    for x, W in places:
        delta = np.zeros_like(W)
        for example in x:
            u = W @ example
            y = np.exp(u / temperature) / np.exp(u / temperature).sum()
            for k in range(len(W)):
                sign = -1 if anti_hebbian and u[k] < u.max() else 1
                delta[k] += sign * y[k] * (example - u[k] * W[k]) / len(x)
        found.append(delta)
    return found


def in_the_shape_of(layer, deltas):
    """Updates of all places in the weight's own shape; those of a convolution in their mean."""
    if isinstance(layer, LocallyConnected2d):
        size, _, channels, out = layer.weight.shape[2:]
        each = [delta.reshape(out, channels, size, size).transpose(2, 3, 1, 0) for delta in deltas]
        return np.stack(each).reshape(layer.weight.shape)
    return np.mean(deltas, 0).reshape(layer.weight.shape)


def norms(layer):
    """Of every neuron, so that it multiplies the weight."""
    W = layer.weight.detach().numpy()
    axes = (2, 3, 4) if isinstance(layer, LocallyConnected2d) else tuple(range(1, W.ndim))
    return np.sqrt((W**2).sum(axes, keepdims=True))


def expected(layer, h, temperature, rate, power=0.5, anti_hebbian=True, normalize=True):
    delta = in_the_shape_of(layer, updates(fields(layer, h), temperature, anti_hebbian))
    if normalize:
        delta = delta / np.abs(delta).max()
    return rate * np.abs(norms(layer) - 1) ** power * delta


def hidden_inputs(net, x):
    """Each hidden layer with weights, and what it gets."""
    found = []
    with torch.no_grad():
        for layer in net:
            if list(layer.parameters()) and layer is not net[-1]:
                found.append((layer, x.numpy()))
            x = layer(x)
    return found


def assert_taught(net, x, y, rule, wanted):
    rule.assign_credit(net, x, y, F.cross_entropy)
    for (layer, _), delta in zip(hidden_inputs(net, x), wanted, strict=True):
        np.testing.assert_allclose(-layer.weight.grad.numpy(), delta, rtol=1e-10, atol=1e-13)


@every_net
@pytest.mark.parametrize("anti_hebbian", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_hidden_layers_learn_by_the_equation(name, anti_hebbian, normalize):
    net, x, y = make(name)
    rule = biograd.SoftHebb(
        net,
        temperature=(0.7, 1.5),
        hidden_rate=(0.3, 2.0),
        rate_power=0.8,
        anti_hebbian=anti_hebbian,
        normalize=normalize,
    )
    (first, h), (second, g) = hidden_inputs(net, x)
    options = {"power": 0.8, "anti_hebbian": anti_hebbian, "normalize": normalize}
    wanted = [expected(first, h, 0.7, 0.3, **options), expected(second, g, 1.5, 2.0, **options)]
    assert_taught(net, x, y, rule, wanted)


@every_net
def test_the_last_layer_learns_from_the_loss_alone(name):
    net, x, y = make(name)
    biograd.SoftHebb(net).assign_credit(net, x, y, F.cross_entropy)
    taught = [p.grad.clone() for p in net[-1].parameters()]
    net.zero_grad()
    F.cross_entropy(net(x), y).backward()
    for mine, exact in zip(taught, net[-1].parameters(), strict=True):
        torch.testing.assert_close(mine, exact.grad, rtol=1e-12, atol=1e-14)


def test_a_power_of_zero_gives_every_neuron_the_same_rate():
    net, x, y = make("mlp")
    (first, h), (second, g) = hidden_inputs(net, x)
    rule = biograd.SoftHebb(net, temperature=(1.0,), rate_power=0, hidden_rate=(0.25,))
    assert_taught(net, x, y, rule, [expected(first, h, 1, 0.25, 0), expected(second, g, 1, 0.25, 0)])


def test_a_small_temperature_is_the_hard_winner_that_takes_all():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 2)).double()
    x, W = torch.randn(9, 4, dtype=torch.float64), net[0].weight.detach().numpy().copy()
    plain = {"hidden_rate": (1.0,), "normalize": False, "rate_power": 0, "anti_hebbian": False}
    rule = biograd.SoftHebb(net, temperature=(1e-9,), **plain)
    rule.assign_credit(net, x, torch.zeros(9, dtype=torch.long), F.cross_entropy)
    wanted = np.zeros_like(W)
    for example in x.numpy():
        winner = int(np.argmax(W @ example))
        wanted[winner] += (example - (W[winner] @ example) * W[winner]) / 9
    np.testing.assert_allclose(-net[0].weight.grad.numpy(), wanted, atol=1e-14)


@pytest.mark.parametrize("radius", [0.2, 6.0])
def test_norms_go_to_one_and_stay(radius):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)).double()
    net[0].weight.data = radius * F.normalize(net[0].weight.data.abs(), dim=1)
    x = torch.rand(
        64, 8, dtype=torch.float64
    )  # weighted inputs are positive: a negative one drives norms from 1
    rule = biograd.SoftHebb(net, temperature=(5.0,), anti_hebbian=False)
    optimizer = torch.optim.SGD(net[0].parameters(), 0.02)
    for _ in range(3000):
        optimizer.zero_grad()
        rule.assign_credit(net, x, torch.zeros(64, dtype=torch.long), F.cross_entropy)
        optimizer.step()
    norms_now = net[0].weight.detach().norm(dim=1)
    assert (norms_now - 1).abs().max() < 1e-3


def test_neurons_find_the_clusters_of_inputs_without_labels():
    generator = torch.Generator().manual_seed(2)
    centres = F.normalize(torch.randn(3, 20, generator=generator, dtype=torch.float64), dim=1)
    belongs = torch.arange(300) % 3
    x = centres[belongs] + 0.05 * torch.randn(300, 20, generator=generator, dtype=torch.float64)
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(20, 3, bias=False), nn.ReLU(), nn.Linear(3, 3)).double()
    net[0].weight.data *= 40
    rule = biograd.SoftHebb(net, temperature=(0.1,))
    optimizer = torch.optim.SGD(net[0].parameters(), 0.05)
    for step in range(600):
        batch = x[(step * 30) % 300 : (step * 30) % 300 + 30]
        optimizer.zero_grad()
        rule.assign_credit(net, batch, torch.zeros(30, dtype=torch.long), F.cross_entropy)
        optimizer.step()
    alignment = F.normalize(net[0].weight.detach(), dim=1) @ centres.t()
    assert sorted(alignment.argmax(1).tolist()) == [0, 1, 2]
    assert alignment.amax(1).min() > 0.99
