import pytest
import torch

from biograd import nets
from biograd.credit.chain.blocks import blocks
from biograd.errors import UserMistake
from biograd.layers import LabelPlaces, LengthNorm
from biograd.nets.ff_mlp import ff_mlp


def kinds(layers):
    return [type(layer).__name__ for layer in layers]


def test_normalisations_lead_the_layers_behind_them():
    chain = blocks(ff_mlp((1, 2, 2), 3, widths=(7, 5)))
    assert [kinds(block.layers) for block in chain] == [
        ["Flatten", "LabelPlaces", "LengthNorm", "Linear", "ReLU"],
        ["LengthNorm", "Linear", "ReLU"],
        ["LengthNorm", "Linear"],
    ]


@pytest.mark.parametrize(("labels", "inputs"), [("before", 7), ("overwrite", 4)])
def test_labels_have_places_of_their_own_or_those_of_the_first_features(labels, inputs):
    net = ff_mlp((4,), 3, labels=labels, label_strength=2.5)
    assert net[2].in_features == inputs
    places = net[0]
    assert isinstance(places, LabelPlaces)
    assert (places.classes, places.strength, places.overwrite) == (3, 2.5, labels == "overwrite")


def test_layers_start_as_active_as_their_inputs():
    torch.manual_seed(0)
    net = ff_mlp((784,), 10, widths=(1000, 1000))
    h = torch.randn(50, 784)
    for layer in list(net)[:-1]:
        before, h = h, layer(h)
        if isinstance(layer, LengthNorm) and before.shape[1] == 1000:
            assert before.square().mean().item() == pytest.approx(1, rel=0.1)


def test_labels_cannot_overwrite_fewer_features():
    with pytest.raises(UserMistake, match="labels of 5 classes cannot overwrite 4 features"):
        nets.create("ff-mlp", (4,), 5, labels="overwrite")
