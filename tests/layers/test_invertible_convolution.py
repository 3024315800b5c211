"""A convolution that can be undone: its matrix, and what targets of its drives become at its input."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import rules
from biograd.credit.chain.blocks import blocks
from biograd.errors import NotFinite, UserMistake
from biograd.layers import FirstUnits, InvertibleConv2d

GEOMETRIES = {
    "overlapping": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "side by side": {"kernel_size": 2, "stride": 2},
    "gaps between patches": {"kernel_size": 2, "stride": 3},
    "no padding": {"kernel_size": 3},
    "two sides": {"kernel_size": (3, 2), "stride": (1, 2), "padding": (2, 0)},
    "patches within the padding": {"kernel_size": 2, "padding": 3},
    "one pixel": {"kernel_size": 1},
    "the paper's first": {"kernel_size": 9, "stride": 4, "padding": 4},
    "without bias": {"kernel_size": 3, "padding": 1, "bias": False},
}
SIZES = [(7, 6), (8, 9), (9, 9)]


def made(geometry, channels=2):
    """A layer with any weights, and any biases."""
    torch.manual_seed(0)
    layer = InvertibleConv2d(channels, **GEOMETRIES[geometry], dtype=torch.float64)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def drawn(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_its_own_drives_give_back_its_input(geometry, size):
    layer, x = made(geometry), drawn(2, 2, *size)
    torch.testing.assert_close(layer.reconstruct(layer(x), x), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_change_of_the_drives_moves_the_input_by_what_every_patch_answers(geometry, size):
    layer, x = made(geometry), drawn(2, 2, *size)
    z = layer(x)
    delta = drawn(*z.shape)
    rows = delta.flatten(2).mT  # (batch, places, out)
    patches = rows @ torch.linalg.inv(layer.matrix())  # (batch, places, fan_in)
    folded = F.fold(patches.mT, size, layer.kernel_size, 1, layer.padding, layer.stride)
    moved = layer.reconstruct(z + delta, x) - layer.reconstruct(z, x)
    torch.testing.assert_close(moved, folded, rtol=1e-9, atol=1e-9)


def test_the_matrix_takes_patches_to_channels():
    layer, x = made("strided"), drawn(3, 2, 7, 6)
    patches = F.unfold(x, layer.kernel_size, 1, layer.padding, layer.stride).mT  # (batch, places, fan_in)
    z = (patches @ layer.matrix() + layer.bias).mT
    torch.testing.assert_close(z, layer(x).flatten(2))
    assert layer.matrix().data_ptr() == layer.weight.data_ptr()


def test_a_pixel_that_no_patch_covers_keeps_its_value():
    layer, x = made("gaps between patches"), drawn(2, 2, 9, 9)
    t = layer.reconstruct(layer(x) + drawn(2, 8, 3, 3), x)
    uncovered = torch.ones(9, dtype=torch.bool)
    uncovered[[0, 1, 3, 4, 6, 7]] = False
    assert torch.equal(t[:, :, uncovered], x[:, :, uncovered])
    assert torch.equal(t[:, :, :, uncovered], x[:, :, :, uncovered])
    assert (t != x)[:, :, ~uncovered][..., ~uncovered].all()


def test_one_example_is_a_batch_of_one():
    layer, x = made("strided"), drawn(1, 2, 7, 6)
    z = layer(x) + 1
    torch.testing.assert_close(layer.reconstruct(z[0], x[0]), layer.reconstruct(z, x)[0])


def test_it_is_a_convolution_with_a_channel_for_every_number_of_a_patch():
    layer = InvertibleConv2d(3, 5, 2, 2)
    assert isinstance(layer, nn.Conv2d)
    assert (layer.out_channels, layer.matrix().shape) == (75, (75, 75))
    assert layer(torch.zeros(2, 3, 8, 8)).shape == (2, 75, 4, 4)
    expected = "InvertibleConv2d(3, 75, kernel_size=(5, 5), stride=(2, 2), padding=(2, 2))"
    assert repr(layer) == expected


def test_it_starts_orthogonal_without_bias_and_draws_anew():
    torch.manual_seed(0)
    layer = InvertibleConv2d(4, 3, dtype=torch.float64)
    for _ in range(2):
        W = layer.matrix().detach().clone()
        torch.testing.assert_close(W @ W.T, torch.eye(36, dtype=torch.float64), rtol=0, atol=1e-12)
        assert not layer.bias.any()
        layer.reset_parameters()
        assert (layer.matrix() != W).any()


def test_a_target_can_be_differentiated():
    layer, x = made("strided"), drawn(1, 2, 4, 5)
    z = drawn(1, 18, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(layer.reconstruct, (z, x.requires_grad_()))


@pytest.mark.parametrize("spoil", [lambda w: w[1].copy_(w[0]), lambda w: w[0].fill_(torch.nan)])
def test_a_matrix_without_inverse_is_refused_in_one_line(spoil):
    layer, x = made("strided"), drawn(1, 2, 4, 4)
    with torch.no_grad():
        layer.weight.zero_()
        spoil(layer.weight)
    with pytest.raises(NotFinite, match="its matrix is singular or not finite") as raised:
        layer.reconstruct(drawn(1, 18, 2, 2), x)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("z", "x"),
    [
        ((2, 18, 4, 4), (2, 2, 4, 4)),
        ((3, 18, 2, 2), (2, 2, 4, 4)),
        ((2, 17, 2, 2), (2, 2, 4, 4)),
        ((2, 18, 2, 2), (2, 3, 4, 4)),
        ((18, 2, 2), (2, 2, 4, 4)),
        ((18,), (4, 4)),
    ],
)
def test_drives_of_another_shape_are_refused(z, x):
    with pytest.raises(UserMistake, match="reconstruct takes the drives"):
        made("strided").reconstruct(drawn(*z), drawn(*x))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"kernel_size": 0}, "must be at least 1"),
        ({"in_channels": 0}, "must be at least 1"),
        ({"stride": (1, 0)}, "must be at least 1"),
        ({"padding": -1}, "padding must be numbers of at least 0, got -1"),
        ({"padding": "same"}, "padding must be numbers of at least 0, got 'same'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, part):
    with pytest.raises(UserMistake, match=part):
        InvertibleConv2d(**{"in_channels": 2, "kernel_size": 3, **arguments})


@pytest.mark.parametrize("name", ["bp", "fa", "dfa"])
def test_rules_teach_it_as_the_convolution_it_is(name):
    torch.manual_seed(0)
    layers = [InvertibleConv2d(2, 2, 2), nn.LeakyReLU(0.1), FirstUnits(3), nn.Flatten(), nn.Linear(12, 3)]
    net, x, y = nn.Sequential(*layers), torch.randn(4, 2, 4, 4), torch.tensor([0, 1, 2, 0])
    rules.create(name, net, sample=x[:1]).assign_credit(net, x, y, F.cross_entropy)
    moved = net[0].weight.grad.flatten(1).abs().amax(1) > 0
    assert moved.tolist() == [True] * 3 + [False] * 5
    assert [block.opening for block in blocks(net)] == [net[0], net[4]]
