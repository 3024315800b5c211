"""How a locally connected layer is made, shown, started, saved, and refuses what does not fit."""

import copy
import math

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from biograd import layers
from biograd.errors import UserMistake
from biograd.layers import LocallyConnected2d, locally_connected2d


def test_shapes_are_documented():
    layer = LocallyConnected2d(4, 6, (3, 2), (7, 5), stride=(2, 1), padding=(1, 0), groups=2)
    assert layer.weight.shape == (4, 4, 3, 2, 2, 6)
    assert layer.bias.shape == (6, 4, 4)
    assert layer(torch.zeros(3, 4, 7, 5)).shape == (3, 6, 4, 4)


def test_a_single_number_stands_for_both_sides():
    assert LocallyConnected2d(1, 1, 3, 8, 2, 1, 2).output_size == (3, 3)
    assert LocallyConnected2d(1, 1, 3, 8, 2, 1, 2).extra_repr() == (
        "1, 1, kernel_size=(3, 3), input_size=(8, 8), stride=(2, 2), padding=(1, 1), dilation=(2, 2)"
    )


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, ""),
        ({"padding": "same"}, ", padding='same'"),
        ({"padding": "valid"}, ""),
        ({"groups": 2}, ", groups=2"),
        ({"bias": False}, ", bias=False"),
        ({"padding_mode": "circular", "padding": (1, 0)}, ", padding=(1, 0), padding_mode='circular'"),
    ],
)
def test_repr_shows_what_is_not_the_default(options, shown):
    layer = LocallyConnected2d(2, 4, 3, (5, 5), **options)
    expected = "LocallyConnected2d(2, 4, kernel_size=(3, 3), input_size=(5, 5), stride=(1, 1)"
    assert repr(layer) == f"{expected}{shown})"


def test_weights_start_as_those_of_a_convolution():
    torch.manual_seed(0)
    layer = LocallyConnected2d(8, 16, 5, (16, 16))
    shared = nn.Conv2d(8, 16, 5)
    bound = 1 / math.sqrt(8 * 25)
    for own, reference in zip(layer.parameters(), shared.parameters(), strict=True):
        assert own.abs().max() <= bound
        assert own.abs().max().item() == pytest.approx(bound, rel=1e-2)
        assert own.mean().item() == pytest.approx(0, abs=0.05 * bound)
        assert own.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert reference.abs().max() <= bound


def test_groups_count_in_the_fan_in():
    layer = LocallyConnected2d(8, 8, 1, (20, 20), groups=4)
    assert layer.weight.abs().max().item() == pytest.approx(1 / math.sqrt(2), rel=1e-2)


def test_resetting_draws_anew():
    layer = LocallyConnected2d(2, 3, 3, (5, 5))
    before = [parameter.clone() for parameter in layer.parameters()]
    layer.reset_parameters()
    assert all((old != new).any() for old, new in zip(before, layer.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_parameters_have_the_dtype_asked_for(dtype):
    layer = LocallyConnected2d(2, 3, 3, (5, 5), dtype=dtype)
    assert {parameter.dtype for parameter in layer.parameters()} == {dtype}
    assert layer(torch.randn(2, 2, 5, 5, dtype=dtype)).dtype == dtype


def test_on_the_meta_device_nothing_is_computed():
    layer = LocallyConnected2d(3, 48, 9, (224, 224), stride=4, padding=4, device="meta")
    y = layer(torch.empty(2, 3, 224, 224, device="meta"))
    assert (y.shape, y.device.type) == ((2, 48, 56, 56), "meta")
    y.sum().backward()
    assert layer.weight.grad.shape == layer.weight.shape


def test_a_layer_saves_and_loads():
    layer, other = (LocallyConnected2d(2, 3, 3, (5, 5)) for _ in range(2))
    other.load_state_dict(load(save(layer.state_dict())))
    x = torch.randn(2, 2, 5, 5)
    torch.testing.assert_close(other(x), layer(x), rtol=0, atol=0)


def test_a_copy_is_independent():
    layer = LocallyConnected2d(2, 3, 3, (5, 5))
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.zero_()
    assert layer.weight.abs().max() > 0


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"groups": 2}, "groups must divide in_channels and out_channels"),
        ({"in_channels": 0}, "must be at least 1"),
        ({"kernel_size": (3, 0)}, "must be at least 1"),
        ({"stride": 0}, "must be at least 1"),
        ({"dilation": -1}, "must be at least 1"),
        ({"input_size": (0, 5)}, "must be at least 1"),
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"padding": "full"}, "'same' or 'valid'"),
        ({"padding": "same", "stride": 2}, "padding='same' needs stride 1"),
        ({"padding_mode": "mirror"}, "padding_mode 'mirror' is unknown"),
        ({"kernel_size": 7}, "does not fit into input_size (5, 5)"),
        ({"stride": (1, 2, 1)}, "stride must be one number or 2, got (1, 2, 1)"),
        ({"padding": (1,)}, "padding must be one number or 2, got (1,)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, part):
    good = {"in_channels": 3, "out_channels": 4, "kernel_size": 3, "input_size": (5, 5)}
    with pytest.raises(UserMistake) as raised:
        LocallyConnected2d(**{**good, **arguments})
    assert part in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shape", [(2, 3, 5, 6), (2, 4, 5, 5), (5, 5), (1, 2, 3, 5, 5)])
def test_an_input_of_another_size_is_refused(shape):
    layer = LocallyConnected2d(3, 4, 3, (5, 5))
    with pytest.raises(
        UserMistake, match=r"made for inputs \(3, 5, 5\).*got " + str(shape).replace("(", r"\(")[:-1]
    ):
        layer(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"weight": torch.zeros(3, 3, 3, 3, 4)}, "weight must be"),
        ({"weight": torch.zeros(3, 2, 3, 3, 2, 4)}, r"output size \(3, 3\)"),
        ({"weight": torch.zeros(3, 3, 3, 3, 1, 4)}, "1 input channels"),
        ({"bias": torch.zeros(4)}, r"bias must be \(4, 3, 3\)"),
        ({"input": torch.zeros(5, 5)}, "input must be"),
        ({"weight": torch.zeros(3, 3, 3, 3, 2, 4, dtype=torch.float64)}, "weight is torch.float64"),
        ({"bias": torch.zeros(4, 3, 3, device="meta")}, "bias is torch.float32 on meta"),
    ],
)
def test_the_function_refuses_tensors_that_do_not_fit(change, part):
    good = {
        "input": torch.zeros(1, 2, 5, 5),
        "weight": torch.zeros(3, 3, 3, 3, 2, 4),
        "bias": torch.zeros(4, 3, 3),
    }
    with pytest.raises(UserMistake, match=part):
        locally_connected2d(**{**good, **change})


@pytest.mark.parametrize(
    ("layer", "shape", "part"),
    [
        (
            layers.LocallyConnected1d(2, 3, 3, 5),
            (4, 2, 6),
            "LocallyConnected1d made for inputs (2, 5) (channels, length)",
        ),
        (
            layers.LocallyConnectedTranspose1d(2, 3, 3, 5),
            (4, 2, 5),
            "LocallyConnectedTranspose1d made for inputs (2, 3)",
        ),
        (
            layers.LocallyConnected3d(2, 3, 1, (2, 3, 4)),
            (2, 4, 3, 2),
            "(2, 2, 3, 4) (channels, depth, height, width)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_over_one_and_three_dimensions_say_what_they_are_made_for(layer, shape, part):
    with pytest.raises(UserMistake) as raised:
        layer(torch.zeros(shape))
    assert part in str(raised.value)


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (
            lambda w: layers.locally_connected1d(torch.zeros(1, 2, 5), w),
            "weight must be (out_length, kernel_length, ",
        ),
        (
            lambda w: layers.locally_connected3d(torch.zeros(1, 2, 5, 5, 5), w),
            "weight must be (out_depth, out_height, ",
        ),
        (
            lambda w: layers.locally_connected_transpose1d(torch.zeros(1, 2, 5), w, None, 5),
            "weight must be (in_length, kernel_length, out_channels / groups, in_channels)",
        ),
        (lambda w: layers.Geometry.of(w[0]), "4, 6 or 8 axes; got (3, 3, 3, 2, 4)"),
    ],
)
def test_a_weight_of_other_dimensions_is_refused_with_the_axes_it_should_have(call, part):
    with pytest.raises(UserMistake) as raised:
        call(torch.zeros(3, 3, 3, 3, 2, 4))
    assert part in str(raised.value)
