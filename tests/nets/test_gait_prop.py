import math

import pytest
import torch
from torch import nn

from biograd import nets
from biograd.credit.chain.blocks import blocks
from biograd.errors import UserMistake
from biograd.layers import FirstUnits, InvertibleConv2d

CIFAR, IMAGENET = (3, 32, 32), (3, 224, 224)
NAMES = {"gait-cifar-deep": CIFAR, "gait-cifar-shallow": CIFAR, "gait-imagenet": IMAGENET}

TABLE = [  # of the paper: kernel, stride, channels, channels passed on; the first layer is not square
    (9, 4, 24, 24),
    (3, 2, 216, 24),
    (5, 2, 600, 48),
    (3, 2, 432, 48),
    (3, 1, 432, 96),
    (3, 2, 864, 96),
    (3, 1, 864, 192),
]
SIZES = [56, 28, 14, 7, 7, 4, 4]


def on_meta(name, outputs=10):
    with torch.device("meta"):
        return nets.create(name, NAMES[name], outputs)


@pytest.mark.parametrize(("name", "hidden"), [("gait-cifar-deep", 6), ("gait-cifar-shallow", 3)])
def test_cifar_nets_are_layers_of_1024_and_all_but_the_first_are_square(name, hidden):
    net = on_meta(name)
    shapes = [tuple(layer.weight.shape) for layer in net if isinstance(layer, nn.Linear)]
    assert shapes == [(1024, 3072)] + [(1024, 1024)] * hidden
    kinds = [type(layer).__name__ for layer in net]
    assert kinds == ["Flatten", *["Linear", "LeakyReLU"] * hidden, "Linear", "FirstUnits"]


def test_the_imagenet_net_has_the_rows_of_the_paper():
    chain = blocks(on_meta("gait-imagenet", 1000))
    x, rows, sizes = torch.zeros(2, *IMAGENET, device="meta"), [], []
    for block in chain[:-1]:
        layer, x = block.opening, block(x)
        assert isinstance(layer, nn.Conv2d)
        rows.append((layer.kernel_size[0], layer.stride[0], layer.out_channels, x.shape[1]))
        sizes.append(x.shape[2])
    assert rows == TABLE
    assert sizes == SIZES
    assert [type(block.opening) for block in chain] == [nn.Conv2d, *[InvertibleConv2d] * 6, nn.Linear]


def test_its_last_map_is_as_large_as_its_square_output_layer():
    last = blocks(on_meta("gait-imagenet", 1000))[-1]
    assert isinstance(last.opening, nn.Linear)
    assert last.opening.weight.shape == (3072, 3072)
    assert [type(layer).__name__ for layer in last.layers] == ["Flatten", "Linear", "FirstUnits"]


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_but_the_first_is_square(name):
    for block in blocks(on_meta(name))[1:]:
        weight = block.opening.weight
        assert len(weight) == math.prod(weight.shape[1:])


@pytest.mark.parametrize("name", NAMES)
def test_the_slope_is_a_tenth_and_the_output_is_linear(name):
    net = on_meta(name)
    bends = [layer for layer in net if isinstance(layer, nn.LeakyReLU)]
    assert {bend.negative_slope for bend in bends} == {0.1}
    assert len(bends) == len(blocks(net)) - 1


def test_weights_start_orthogonal_and_biases_at_zero():
    net = nets.create("gait-cifar-shallow", CIFAR, 10, seed=0).double()
    for layer in net:
        if isinstance(layer, nn.Linear):
            W = layer.weight.detach()
            torch.testing.assert_close(W @ W.T, torch.eye(len(W), dtype=W.dtype), rtol=0, atol=1e-5)
            assert not layer.bias.any()


def test_as_many_outputs_as_units_leave_none_behind():
    assert not isinstance(on_meta("gait-cifar-deep", 1024)[-1], FirstUnits)


@pytest.mark.parametrize(("name", "units"), [("gait-cifar-deep", 1024), ("gait-imagenet", 3072)])
def test_more_outputs_than_units_are_refused(name, units):
    with pytest.raises(UserMistake, match=f"{name} has at most {units} outputs, got {units + 1}"):
        on_meta(name, units + 1)
