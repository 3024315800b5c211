import pytest
import torch

from biograd.credit.chain.blocks import blocks
from biograd.credit.chain.shapes import output_shapes
from biograd.errors import UserMistake
from biograd.nets.convnet import convnet


def kinds(layers):
    return [type(layer).__name__ for layer in layers]


def test_three_convolutions_of_3x3_each_pooled_then_a_linear_layer():
    net = convnet((3, 32, 32), 10)
    assert kinds(net) == ["Conv2d", "Tanh", "MaxPool2d"] * 3 + ["Flatten", "Linear"]
    assert [tuple(p.shape) for p in net.parameters() if p.dim() > 1] == [
        (32, 3, 3, 3),
        (64, 32, 3, 3),
        (128, 64, 3, 3),
        (10, 128 * 4 * 4),
    ]


def test_number_of_parameters():
    expected = 27 * 32 + 32 + 9 * 32 * 64 + 64 + 9 * 64 * 128 + 128 + 2048 * 10 + 10
    assert sum(p.numel() for p in convnet((3, 32, 32), 10).parameters()) == expected == 113_738


def test_blocks_are_convolution_nonlinearity_and_pooling():
    chain = blocks(convnet((3, 32, 32), 10))
    assert [kinds(block.layers) for block in chain] == [
        ["Conv2d", "Tanh", "MaxPool2d"],
        ["Conv2d", "Tanh", "MaxPool2d"],
        ["Conv2d", "Tanh", "MaxPool2d"],
        ["Flatten", "Linear"],
    ]
    shapes = [tuple(shape) for shape in output_shapes(chain, torch.zeros(1, 3, 32, 32))]
    assert shapes == [(32, 16, 16), (64, 8, 8), (128, 4, 4), (10,)]


def test_settings_choose_channels_nonlinearity_and_pooling():
    net = convnet((1, 9, 12), 4, channels=(5, 6), activation="relu", pooling="average")
    assert kinds(net) == ["Conv2d", "ReLU", "AvgPool2d"] * 2 + ["Flatten", "Linear"]
    assert [net[0].out_channels, net[3].out_channels] == [5, 6]
    assert net(torch.zeros(2, 1, 9, 12)).shape == (2, 4)


def test_the_initialisation_is_the_one_asked_for():
    torch.manual_seed(0)
    kaiming = convnet((3, 32, 32), 10, activation="relu", initialization="kaiming")[6].weight
    glorot = convnet((3, 32, 32), 10, activation="relu", initialization="glorot")[6].weight
    assert kaiming.var().item() == pytest.approx(2 / (9 * 64), rel=0.02)
    assert glorot.var().item() == pytest.approx(2 / (9 * (64 + 128)), rel=0.02)


def test_an_image_that_cannot_be_halved_for_every_convolution_is_refused():
    with pytest.raises(UserMistake, match="at least 16 × 16"):
        convnet((3, 15, 16), 10, channels=(4, 4, 4, 4))


@pytest.mark.parametrize("settings", [{"channels": ()}, {"channels": (0,)}, {"pooling": "min"}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(UserMistake, match=next(iter(settings))):
        convnet((3, 32, 32), 10, **settings)
