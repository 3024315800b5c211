import pytest
import torch
from torch import nn

from biograd.credit.chain.blocks import blocks
from biograd.credit.chain.shapes import output_shapes
from biograd.errors import UserMistake
from biograd.nets.vgg import vgg11


@pytest.fixture(scope="module")
def net():
    return vgg11((3, 32, 32), 10)


def test_eight_convolutions_and_one_linear_layer_make_9_million_parameters(net):
    channels = [layer.out_channels for layer in net if isinstance(layer, nn.Conv2d)]
    assert channels == [64, 128, 256, 256, 512, 512, 512, 512]
    assert sum(p.numel() for p in net.parameters()) == 9_228_362  # 9,231,114 with the biases we leave out


def test_blocks_end_at_normalisation_nonlinearity_and_pooling(net):
    chain = blocks(net)
    assert [type(layer).__name__ for layer in chain[0].layers] == [
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
        "MaxPool2d",
    ]
    shapes = [tuple(shape) for shape in output_shapes(chain, torch.zeros(1, 3, 32, 32))]
    assert shapes == [
        (64, 16, 16),
        (128, 8, 8),
        (256, 8, 8),
        (256, 4, 4),
        (512, 4, 4),
        (512, 2, 2),
        (512, 2, 2),
        (512, 1, 1),
        (10,),
    ]


def test_without_batch_norm_convolutions_have_biases():
    with torch.device("meta"):
        net = vgg11((3, 32, 32), 10, batch_norm=False)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in net)
    assert all(layer.bias is not None for layer in net if isinstance(layer, nn.Conv2d))


def test_settings_choose_nonlinearity_and_initialisation():
    net = vgg11((3, 32, 32), 10, activation="tanh", initialization="glorot")
    assert sum(isinstance(layer, nn.Tanh) for layer in net) == 8
    assert net[4].weight.abs().max().item() <= (6 / (9 * (64 + 128))) ** 0.5


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32), (3, 31, 40)])
def test_smaller_images_are_refused(shape):
    with pytest.raises(UserMistake, match="at least 32 × 32"):
        vgg11(shape, 10)
