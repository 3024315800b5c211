"""The nets for soft winner-take-all learning."""

import pytest
import torch
from torch import nn

from biograd import nets
from biograd.errors import UserMistake
from biograd.layers import Triangle


def kinds(net):
    return [type(layer).__name__ for layer in net]


def test_the_convolutional_net_is_the_paper_s():
    net = nets.create("softhebb-cnn", (3, 32, 32), 10, seed=0, readout_norm=False)
    one = ["BatchNorm2d", "Conv2d", "Triangle"]
    assert kinds(net) == [
        *(*one, "MaxPool2d", *one, "MaxPool2d", *one, "AvgPool2d"),
        *("Flatten", "Dropout", "Linear"),
    ]
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    assert [c.weight.shape for c in convolutions] == [(96, 3, 5, 5), (384, 96, 3, 3), (1536, 384, 3, 3)]
    assert {c.padding_mode for c in convolutions} == {"reflect"}
    assert [layer.power for layer in net if isinstance(layer, Triangle)] == [0.7, 1.4, 1.0]
    assert [net[i].weight.flatten(1).norm(dim=1).mean().item() for i in (1, 5, 9)] == pytest.approx(
        [25] * 3, rel=0.05
    )
    assert (net[-2].p, net[-1].in_features) == (0.5, 24576)
    assert sum(p.numel() for c in convolutions for p in c.parameters()) == 5_647_392


def test_what_the_readout_gets_is_normalised_unless_it_is_not_to_be():
    net = nets.create("softhebb-cnn", (1, 12, 12), 4, channels=(3, 5, 6))
    features = net[:-2](torch.randn(40, 1, 12, 12, generator=torch.Generator().manual_seed(0)))
    by_channel = features.view(40, 6, -1).transpose(0, 1).flatten(1)
    torch.testing.assert_close(by_channel.std(1, correction=0), torch.ones(6), rtol=1e-3, atol=0)


@pytest.mark.parametrize("side", [8, 12, 28, 33])
def test_the_readout_fits_what_the_convolutions_leave(side):
    net = nets.create("softhebb-cnn", (1, side, side), 4, channels=(3, 5, 6), dropout=0)
    assert net(torch.zeros(2, 1, side, side)).shape == (2, 4)
    assert not any(isinstance(layer, nn.Dropout) for layer in net)


def test_hidden_layers_have_weights_alone():
    for name in ("softhebb-mlp", "softhebb-cnn"):
        net = nets.create(name, (1, 28, 28), 10)
        assert all(parameter.dim() > 1 for parameter in net[:-1].parameters())


def test_the_multilayer_net_has_its_settings():
    net = nets.create("softhebb-mlp", (1, 4, 4), 3, widths=(5, 6), powers=(1, 2), radius=9, dropout=0.2)
    one = ["Linear", "Triangle", "BatchNorm1d"]
    assert kinds(net) == ["Flatten", *one, *one, "Dropout", "Linear"]
    assert [net[2].power, net[5].power] == [1, 2]
    net = nets.create("softhebb-mlp", (400,), 3, widths=(500,), batch_norm=False, radius=9)
    assert kinds(net) == ["Linear", "Triangle", "Linear"]
    assert net[0].weight.norm(dim=1).mean().item() == pytest.approx(9, rel=0.01)


@pytest.mark.parametrize("name", ["softhebb-mlp", "softhebb-cnn"])
def test_powers_for_other_than_one_or_all_layers_are_refused(name):
    with pytest.raises(
        UserMistake, match=f"{name}: powers needs one number, or one for each of the . hidden layers"
    ):
        nets.create(name, (1, 28, 28), 10, powers=(1.0, 2.0))
