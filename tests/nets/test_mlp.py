import pytest
import torch
from torch import nn

from biograd import nets
from biograd.credit.chain.blocks import blocks
from biograd.errors import UserMistake
from biograd.nets.mlp import mlp


def kinds(net):
    return [type(layer).__name__ for layer in net]


def test_it_is_linear_layers_with_a_nonlinearity_between_them():
    assert kinds(mlp((784,), 10)) == ["Linear", "Tanh", "Linear", "Tanh", "Linear"]


def test_images_are_flattened_first():
    net = mlp((1, 28, 28), 10, widths=(16,))
    assert kinds(net) == ["Flatten", "Linear", "Tanh", "Linear"]
    assert net(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_the_default_has_two_hidden_layers_of_512():
    assert sum(p.numel() for p in mlp((784,), 10).parameters()) == 785 * 512 + 513 * 512 + 513 * 10


def test_widths_are_those_of_the_hidden_layers():
    shapes = [tuple(p.shape) for p in mlp((4,), 3, widths=(7, 5)).parameters() if p.dim() == 2]
    assert shapes == [(7, 4), (5, 7), (3, 5)]


def test_no_widths_give_a_linear_classifier():
    assert kinds(mlp((4,), 3, widths=())) == ["Linear"]


def test_a_linear_net_is_one_product():
    torch.manual_seed(0)
    net = mlp((4,), 3, widths=(5, 6), activation="linear").double()
    x = torch.randn(2, 4, dtype=torch.float64)
    weights = [p for p in net.parameters() if p.dim() == 2]
    torch.testing.assert_close(net(x), x @ (weights[2] @ weights[1] @ weights[0]).T)


def test_without_bias_there_are_only_matrices():
    assert all(p.dim() == 2 for p in mlp((4,), 3, bias=False).parameters())


def test_dropout_follows_every_hidden_layer_and_leads_the_next_block():
    net = mlp((4,), 3, widths=(7, 5), dropout=0.25)
    assert kinds(net) == ["Linear", "Tanh", "Dropout", "Linear", "Tanh", "Dropout", "Linear"]
    assert [layer.p for layer in net if isinstance(layer, nn.Dropout)] == [0.25, 0.25]
    assert [kinds(block.layers) for block in blocks(net)][1] == ["Dropout", "Linear", "Tanh"]


@pytest.mark.parametrize("initialization", ["glorot", "kaiming", "orthogonal"])
def test_the_initialisation_is_the_one_asked_for(initialization):
    weight = nets.create("mlp", (512,), 10, seed=0, activation="relu", initialization=initialization)[
        0
    ].weight
    scale = {"glorot": 1 / 512, "kaiming": 2 / 512, "orthogonal": 1 / 512}[initialization]
    assert weight.var().item() == pytest.approx(scale, rel=0.02)
    is_orthogonal = (weight @ weight.T - torch.eye(512)).abs().max() < 1e-4
    assert is_orthogonal == (initialization == "orthogonal")


def test_blocks_are_its_layers():
    chain = blocks(mlp((1, 2, 2), 3, widths=(7, 5)))
    assert [(block.name, kinds(block.layers)) for block in chain] == [
        ("1", ["Flatten", "Linear", "Tanh"]),
        ("3", ["Linear", "Tanh"]),
        ("5", ["Linear"]),
    ]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"widths": (512, 0)}, "widths"),
        ({"widths": (512, -1)}, "widths"),
        ({"widths": (1.5,)}, "widths"),
        ({"activation": "rleu"}, "activation"),
        ({"initialization": "zero"}, "initialization"),
        ({"bias": "maybe"}, "bias"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_bad_settings_are_refused_when_called_directly(settings, word):
    with pytest.raises(UserMistake, match=word):
        mlp((784,), 10, **settings)


def test_one_width_and_text_are_understood():
    assert [layer.out_features for layer in mlp((4,), 2, widths="8,9") if isinstance(layer, nn.Linear)] == [
        8,
        9,
        2,
    ]  # type: ignore[arg-type]
