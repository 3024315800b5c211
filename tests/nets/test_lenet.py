import pytest
import torch

from biograd.credit.chain.blocks import blocks
from biograd.credit.chain.shapes import output_shapes
from biograd.errors import UserMistake
from biograd.nets.lenet import lenet


@pytest.mark.parametrize(("shape", "parameters"), [((1, 28, 28), 61_706), ((3, 32, 32), 62_006)])
def test_parameters_as_everyone_counts_them(shape, parameters):
    assert sum(p.numel() for p in lenet(shape, 10).parameters()) == parameters


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_maps_are_those_of_the_paper(shape):
    chain = blocks(lenet(shape, 10))
    shapes = [tuple(shape) for shape in output_shapes(chain, torch.zeros(1, *shape))]
    assert shapes == [(6, 14, 14), (16, 5, 5), (120,), (84,), (10,)]


def test_settings_choose_nonlinearity_and_pooling():
    default = [type(layer).__name__ for layer in lenet((1, 28, 28), 10)]
    chosen = [type(layer).__name__ for layer in lenet((1, 28, 28), 10, activation="relu", pooling="max")]
    assert default.count("Tanh") == chosen.count("ReLU") == 4
    assert default.count("AvgPool2d") == chosen.count("MaxPool2d") == 2


def test_the_initialisation_is_the_one_asked_for():
    weight = lenet((1, 28, 28), 10, initialization="orthogonal")[7].weight
    assert (weight @ weight.T - torch.eye(120)).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(28, 28), (3, 28, 28), (1, 32, 32), (784,), (3, 224, 224)])
def test_other_images_are_refused(shape):
    with pytest.raises(UserMistake, match=r"lenet takes inputs \(1, 28, 28\) or \(3, 32, 32\)"):
        lenet(shape, 10)
