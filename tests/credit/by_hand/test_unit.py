"""A unit gives what its layers give, bit for bit, and autograd's gradients, which a plain reference gives too."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd.credit.by_hand.unit import Unit
from biograd.credit.chain.blocks import cut_layers, flat_layers
from biograd.layers import LocallyConnected2d

OPENINGS = {
    "linear": (lambda: nn.Linear(6, 5), (3, 6)),
    "linear over tokens": (lambda: nn.Linear(6, 5, bias=False), (3, 4, 6)),
    "convolution over one": (lambda: nn.Conv1d(4, 6, 3, padding=1, groups=2), (3, 4, 7)),
    "convolution": (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1), (3, 2, 6, 6)),
    "dilated": (lambda: nn.Conv2d(2, 4, 3, dilation=2, padding="same", bias=False), (3, 2, 6, 6)),
    "convolution over three": (lambda: nn.Conv3d(2, 3, 2), (3, 2, 3, 4, 3)),
    "locally connected": (lambda: LocallyConnected2d(2, 3, 3, (6, 6), stride=2, padding=1), (3, 2, 6, 6)),
    "locally connected, no bias": (lambda: LocallyConnected2d(2, 3, 2, (6, 6), bias=False), (3, 2, 6, 6)),
}
NONLINEARITIES = {
    "none": (nn.Identity(), lambda z: torch.ones_like(z)),
    "tanh": (nn.Tanh(), lambda z: 1 - torch.tanh(z) ** 2),
    "sigmoid": (nn.Sigmoid(), lambda z: torch.sigmoid(z) * torch.sigmoid(-z)),
    "relu": (nn.ReLU(), lambda z: (z > 0).to(z)),
    "relu in place": (nn.ReLU(inplace=True), lambda z: (z > 0).to(z)),
    "leaky relu": (nn.LeakyReLU(0.2), lambda z: 0.2 + 0.8 * (z > 0).to(z)),
    "leaky relu of slope 0": (nn.LeakyReLU(0.0, inplace=True), lambda z: (z > 0).to(z)),
}


def unit_of(*layers):
    net = nn.Sequential(*layers).double()
    (block,) = cut_layers(list(flat_layers(net)))
    unit = Unit.of(block.leading, block.opening, block.following)
    assert unit is not None
    return net, unit


def by_autograd(net, x, signal):
    x = x.clone().requires_grad_()
    output = net(x.clone())
    wanted = [x, *net.parameters()]
    return output.detach(), torch.autograd.grad(output, wanted, signal)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("opening", OPENINGS)
def test_it_is_the_block_by_autograd(opening, nonlinearity):
    make, shape = OPENINGS[opening]
    torch.manual_seed(0)
    (net, unit), x = unit_of(make(), NONLINEARITIES[nonlinearity][0]), torch.randn(shape, dtype=torch.float64)
    assert unit.takes(x)
    with torch.no_grad():
        trace = unit.run(x)
        driven = unit.driven(x)
    signal = torch.randn_like(trace.output)
    output, (of_x, *of_parameters) = by_autograd(net, x, signal)
    assert torch.equal(trace.output, output)
    assert torch.equal(driven.output, net[0](x))
    assert torch.equal(driven.fired(), output)
    delta = trace.drive_signal(signal)
    e, gradients = trace.carried(delta, unit.opening.weight.detach())
    assert torch.equal(e, of_x)
    for here, there in zip(gradients, of_parameters, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-13, atol=1e-13)
    for alone, beside in zip(trace.gradients(delta), gradients, strict=True):
        assert torch.equal(alone, beside)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_it_is_the_plain_equations_of_a_linear_layer_and_the_derivative(nonlinearity):
    f, slope = NONLINEARITIES[nonlinearity]
    torch.manual_seed(0)
    (_, unit), x = unit_of(nn.Linear(6, 5), f), torch.randn(7, 6, dtype=torch.float64)
    with torch.no_grad():
        trace, z = unit.run(x), F.linear(x, unit.opening.weight, unit.opening.bias)
    s, B = torch.randn_like(z), torch.randn_like(unit.opening.weight)
    delta = trace.drive_signal(s)
    torch.testing.assert_close(delta, s * slope(z), rtol=1e-13, atol=1e-13)
    e, (of_W, of_b) = trace.carried(delta, B)
    found = (e, of_W, of_b)
    for here, there in zip(found, (delta @ B, delta.t() @ x, delta.sum(0)), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-13, atol=1e-13)
    M = torch.rand_like(B)
    torch.testing.assert_close(trace.carried(delta, B, M)[0], delta @ (B.sign() * M), rtol=1e-13, atol=1e-13)


def test_it_is_the_plain_sum_over_places_of_a_convolution_and_of_a_locally_connected_layer():
    torch.manual_seed(0)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    for layer in (nn.Conv2d(2, 3, 2), LocallyConnected2d(2, 3, 2, (4, 4))):
        (_, unit), shares = unit_of(layer), isinstance(layer, nn.Conv2d)
        with torch.no_grad():
            trace = unit.run(x)
        delta, W = torch.randn_like(trace.output), layer.weight.detach()
        of_W, e = torch.zeros_like(W), torch.zeros_like(x)
        patches = F.unfold(x, 2).view(2, 2, 2, 2, 3, 3)  # (example, in, row, column, at row, at column)
        for i, j in itertools.product(range(3), repeat=2):
            at, patch = delta[:, :, i, j], patches[..., i, j]
            w, of_w = (t if shares else t[i, j].permute(3, 2, 0, 1) for t in (W, of_W))
            of_w += torch.einsum("no,nirc->oirc", at, patch)
            e[:, :, i : i + 2, j : j + 2] += torch.einsum("no,oirc->nirc", at, w)
        found, (gradient, _) = trace.carried(delta, W)
        torch.testing.assert_close(gradient, of_W, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found, e, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("leading", [nn.Flatten(), nn.Tanh(), nn.LeakyReLU(0.3), nn.Sigmoid()])
def test_what_leads_a_layer_belongs_to_it(leading):
    torch.manual_seed(0)
    net, unit = unit_of(leading, nn.Linear(6, 5), nn.ReLU())
    x = torch.randn(4, *((2, 3) if type(leading) is nn.Flatten else (6,)), dtype=torch.float64)
    with torch.no_grad():
        trace = unit.run(x)
    signal = torch.randn_like(trace.output)
    output, (of_x, of_W, of_b) = by_autograd(net, x, signal)
    assert torch.equal(trace.output, output)
    e, gradients = trace.carried(trace.drive_signal(signal), unit.opening.weight.detach())
    torch.testing.assert_close((e, *gradients), (of_x, of_W, of_b), rtol=1e-13, atol=1e-13)


def test_what_does_not_learn_gets_no_gradient_and_what_is_not_asked_for_neither():
    _, unit = unit_of(nn.Linear(6, 5), nn.Tanh())
    x = torch.randn(3, 6, dtype=torch.float64)
    with torch.no_grad():
        trace = unit.run(x)
    delta = torch.ones_like(trace.output)
    unit.opening.weight.requires_grad_(False)
    e, (of_W, of_b) = trace.carried(delta, None)
    assert (e, of_W) == (None, None)
    assert torch.equal(of_b, delta.sum(0))
    assert [*trace.carried(delta, unit.opening.weight, teaches=False)[1]] == [None, None]


@pytest.mark.parametrize(
    "layers",
    {
        "two nonlinearities": (nn.Linear(6, 5), nn.Tanh(), nn.ReLU()),
        "a normalisation": (nn.Linear(6, 5), nn.BatchNorm1d(5)),
        "a nonlinearity whose slope y does not tell": (nn.Linear(6, 5), nn.GELU()),
        "a slope below zero": (nn.Linear(6, 5), nn.LeakyReLU(-0.1)),
        "a nonlinearity that learns": (nn.Linear(6, 5), nn.PReLU()),
        "another padding": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),),
        "an uneven padding": (nn.Conv2d(2, 3, 2, padding="same"),),
        "a transposed convolution": (nn.ConvTranspose2d(2, 3, 2),),
        "what leads and overwrites": (nn.LeakyReLU(0.1, inplace=True), nn.Linear(6, 5)),
        "dropout before": (nn.Dropout(), nn.Linear(6, 5)),
        "two that lead": (nn.Flatten(), nn.Tanh(), nn.Linear(6, 5)),
        "a compiled layer": (nn.Linear(6, 5), nn.Tanh()),
    }.items(),
    ids=lambda layers: layers[0],
)
def test_a_block_that_is_more_is_no_unit(layers):
    what, modules = layers
    if what == "a compiled layer":
        modules[0].compile(backend="eager")
    (block,) = cut_layers(list(flat_layers(nn.Sequential(*modules))))
    assert Unit.of(block.leading, block.opening, block.following) is None


def test_one_example_without_a_batch_is_not_taken():
    for make, shape in OPENINGS.values():
        _, unit = unit_of(make())
        assert not unit.takes(torch.zeros(shape[1:])) or len(shape) == 3
        assert unit.takes(torch.zeros(shape))
