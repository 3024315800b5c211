import pytest
import torch
from torch import nn

from biograd import nets
from biograd.credit.chain.blocks import blocks
from biograd.errors import UserMistake
from biograd.layers import FirstUnits
from biograd.nets.square import square, tower


def kinds(net):
    return [type(layer).__name__ for layer in net]


def matrices(net):
    return [tuple(layer.weight.shape) for layer in net if isinstance(layer, nn.Linear)]


def test_every_layer_is_as_wide_as_the_input_and_the_first_outputs_are_passed_on():
    net = square((1, 28, 28), 10)
    assert kinds(net) == ["Flatten", *["Linear", "LeakyReLU"] * 5, "FirstUnits"]
    assert matrices(net) == [(784, 784)] * 5
    assert net[-1].count == 10
    assert {layer.negative_slope for layer in net if isinstance(layer, nn.LeakyReLU)} == {0.1}


def test_with_another_width_only_the_first_layer_is_not_square():
    assert matrices(square((6,), 3, width=9, hidden=2)) == [(9, 6), (9, 9), (9, 9)]
    assert matrices(square((6,), 3, width=4, hidden=0)) == [(4, 6)]


@pytest.mark.parametrize("make", [square, tower])
def test_a_linear_output_has_no_nonlinearity(make):
    bent, linear = (kinds(make((784,), 10, output=output)) for output in ("leaky-relu", "linear"))
    assert bent[-3:] == ["Linear", "LeakyReLU", "FirstUnits"]
    assert linear == [*bent[:-2], "FirstUnits"]


@pytest.mark.parametrize("make", [square, tower])
def test_the_slope_is_that_of_every_leaky_relu(make):
    slopes = [layer.negative_slope for layer in make((784,), 3, slope=0.3) if isinstance(layer, nn.LeakyReLU)]
    assert slopes == [0.3] * len(blocks(make((784,), 3)))


def test_as_many_outputs_as_units_leave_none_behind():
    assert "FirstUnits" not in kinds(square((4,), 4))


def test_the_tower_narrows_by_what_it_passes_on():
    net = tower((1, 28, 28), 10)
    assert matrices(net) == [(784, 784), (784, 784), (500, 500), (200, 200)]
    assert [layer.count for layer in net if isinstance(layer, FirstUnits)] == [500, 200, 10]
    assert kinds(net) == [
        "Flatten",
        *["Linear", "LeakyReLU"] * 2,
        "FirstUnits",
        *["Linear", "LeakyReLU", "FirstUnits"] * 2,
    ]


def test_the_widths_of_a_tower_are_a_setting():
    assert matrices(tower((64,), 10, widths=(50, 20))) == [(64, 64), (50, 50), (20, 20)]
    assert matrices(tower((64,), 10, widths=())) == [(64, 64)]


@pytest.mark.parametrize("name", ["square", "tower"])
def test_weights_start_orthogonal_and_biases_at_zero(name):
    net = nets.create(name, (784,), 10, seed=0).double()
    for layer in net:
        if isinstance(layer, nn.Linear):
            W = layer.weight.detach()
            torch.testing.assert_close(W @ W.T, torch.eye(len(W), dtype=W.dtype), rtol=0, atol=1e-5)
            assert not layer.bias.any()


def test_kaiming_takes_the_slope_into_account():
    weight = nets.create("square", (600,), 10, seed=0, initialization="kaiming", slope=1.0)[0].weight
    assert weight.var().item() * 600 == pytest.approx(1, rel=0.02)


def test_more_outputs_than_units_are_refused():
    with pytest.raises(UserMistake, match="10 outputs do not fit into layers 4 wide; give width=10"):
        square((4,), 10)
    with pytest.raises(UserMistake, match=r"got inputs, widths and outputs \[64, 20, 30\]"):
        tower((64,), 30, widths=(20,))


def test_a_tower_that_grows_is_refused():
    with pytest.raises(UserMistake, match="passes on no more units than it gets"):
        tower((64,), 10)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"hidden": -1}, "hidden"),
        ({"width": 0}, "width"),
        ({"slope": 0}, "slope"),
        ({"slope": 1.5}, "slope"),
        ({"output": "softmax"}, "output"),
    ],
)
def test_bad_settings_are_refused(settings, word):
    with pytest.raises(UserMistake, match=word):
        square((4,), 2, **settings)
