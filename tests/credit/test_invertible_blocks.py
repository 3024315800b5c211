"""Blocks taken apart and undone: nonlinearities, biases, overlaps, auxiliary units, and what is refused."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from biograd.credit.back.invertible_blocks import (
    InvertibleBlock,
    activity,
    bijection,
    nonlinearity_of,
    overlaps,
)
from biograd.credit.chain.blocks import blocks
from biograd.credit.chain.passage import Passage
from biograd.errors import NotFinite, UnsupportedNet
from biograd.layers import FirstUnits, InvertibleConv2d, LocallyConnected2d

BIJECTIONS = {
    "leaky ReLU": nn.LeakyReLU(0.1),
    "in place": nn.LeakyReLU(0.3, inplace=True),
    "steep": nn.LeakyReLU(3.0),
    "tanh": nn.Tanh(),
    "none": nn.Identity(),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", BIJECTIONS)
def test_an_inverse_undoes_the_nonlinearity_and_the_derivative_is_autograds(name, dtype):
    layer, f = BIJECTIONS[name], bijection(BIJECTIONS[name], 1e-6, "0")
    z = torch.tensor([-2.0, -0.7, -1e-9, 0.0, 1e-9, 0.4, 3.0], dtype=dtype, requires_grad=True)
    y = layer(z.clone())
    assert torch.equal(f.forward(z), y)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(f.inverse(y.detach()), z.detach(), rtol=tolerance, atol=tolerance)
    (derivative,) = torch.autograd.grad(y.sum(), z)
    assert f.derivative(y.detach()).dtype == dtype
    torch.testing.assert_close(f.derivative(y.detach()), derivative, rtol=tolerance, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("margin", [0.1, 1e-6, 1e-12])
def test_tanh_is_cut_by_the_margin_and_nothing_of_it_is_zero_or_infinite(margin, dtype):
    f = bijection(nn.Tanh(), margin, "0")
    reach = f.inverse(torch.tensor([2.0, 1.0, -1.0, -5.0], dtype=dtype))
    largest = max(margin, torch.finfo(dtype).eps)
    expected = math.atanh(1 - largest)
    torch.testing.assert_close(
        reach, expected * torch.tensor([1, 1, -1, -1.0], dtype=dtype), rtol=0.05, atol=0
    )
    derivative = f.derivative(torch.tensor([1.0, -1.0, 0.0], dtype=dtype))
    assert (derivative > largest).all()
    assert derivative[2] == 1


REFUSED = [
    nn.ReLU(),
    nn.GELU(),
    nn.PReLU(),
    nn.Sigmoid(),
    nn.LeakyReLU(0.0),
    nn.LeakyReLU(-0.1),
    nn.Dropout(),
]


@pytest.mark.parametrize("layer", REFUSED, ids=str)
def test_a_nonlinearity_without_an_inverse_is_refused_by_name(layer):
    with pytest.raises(UnsupportedNet, match="has no inverse") as caught:
        bijection(layer, 1e-6, "body.3")
    assert "'body.3'" in str(caught.value)
    assert type(layer).__name__ in str(caught.value)
    assert "\n" not in str(caught.value)


def block_of(*layers: nn.Module) -> Any:
    return blocks(nn.Sequential(nn.Embedding(2, 2), *layers))[1]


def test_a_block_is_its_layer_one_nonlinearity_and_the_units_passed_on():
    linear = nn.Linear(4, 4)
    leaky = nn.LeakyReLU(0.1)
    assert nonlinearity_of(block_of(linear, leaky, FirstUnits(2))) == (leaky, 2)
    assert nonlinearity_of(block_of(linear, leaky)) == (leaky, None)
    assert isinstance(nonlinearity_of(block_of(linear, FirstUnits(2)))[0], nn.Identity)
    assert nonlinearity_of(block_of(linear))[1] is None


@pytest.mark.parametrize(
    ("layers", "part"),
    [
        ((nn.Linear(4, 4), nn.LayerNorm(4), nn.Tanh()), "LayerNorm and Tanh behind its weights"),
        ((nn.Linear(4, 4), FirstUnits(2), nn.Tanh()), "FirstUnits and Tanh behind"),
        ((nn.Conv2d(1, 4, 2), nn.Tanh(), nn.AvgPool2d(2)), "Tanh and AvgPool2d behind"),
        ((nn.Dropout(), nn.Linear(4, 4)), "begins with a Dropout"),
        ((nn.ZeroPad2d(1), nn.Conv2d(1, 4, 2)), "begins with a ZeroPad2d"),
        ((nn.Linear(4, 3), nn.Tanh()), "takes 4 numbers to 3: this needs square layers"),
        ((nn.Conv2d(1, 3, 2),), "takes 4 numbers to 3"),
        ((LocallyConnected2d(1, 3, 2, 4),), "takes 4 numbers to 3"),
        ((nn.ConvTranspose2d(2, 2, 2),), "is a ConvTranspose2d, whose inverse is not known"),
    ],
)
def test_blocks_that_cannot_be_undone_are_refused_in_one_line(layers, part):
    with pytest.raises(UnsupportedNet, match=part) as caught:
        InvertibleBlock.of(block_of(*layers), 1e-6, is_first=False)
    assert "\n" not in str(caught.value)


def test_the_first_block_may_have_any_shape_since_nothing_is_sent_below_it():
    block = block_of(nn.Linear(4, 3), nn.Tanh())
    assert InvertibleBlock.of(block, 1e-6, is_first=True).block is block


KINDS: dict[str, Any] = {
    "linear": (lambda: nn.Linear(5, 5), (3, 5)),
    "without bias": (lambda: nn.Linear(5, 5, bias=False), (3, 5)),
    "tokens": (lambda: nn.Linear(5, 5), (3, 5, 5)),
    "sequences": (lambda: nn.Conv1d(2, 6, 3, stride=2, padding=1), (3, 2, 7)),
    "overlapping patches": (lambda: InvertibleConv2d(2, 3, padding=1), (2, 2, 6, 5)),
    "stride below the kernel": (lambda: InvertibleConv2d(2, 3, stride=2, padding=1), (2, 2, 6, 5)),
    "gaps": (lambda: InvertibleConv2d(1, 2, stride=3), (2, 1, 7, 8)),
    "groups": (lambda: nn.Conv2d(4, 16, 2, groups=2), (2, 4, 3, 4)),
    "places": (lambda: LocallyConnected2d(2, 8, 2, (4, 3), padding=1), (2, 2, 4, 3)),
    "places without bias": (lambda: LocallyConnected2d(2, 8, 2, (4, 3), bias=False), (2, 2, 4, 3)),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind, nonlinearity=None):
    torch.manual_seed(0)
    make, shape = KINDS[kind]
    layer = make().double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.4)
    part = InvertibleBlock.of(block_of(layer, nonlinearity or nn.LeakyReLU(0.1)), 1e-6, is_first=False)
    return layer, part, torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("nonlinearity", [nn.LeakyReLU(0.1), nn.Tanh(), nn.Identity()], ids=str)
@every_kind
def test_a_blocks_own_activity_gives_back_its_input(kind, nonlinearity):
    layer, part, x = made(kind, nonlinearity)
    x = 0.3 * x  # within the margin of tanh
    y = part.nonlinearity.forward(layer(x).detach())
    torch.testing.assert_close(part.invert(y, x), x, rtol=1e-6, atol=1e-6)


@every_kind
def test_the_overlap_counts_the_patches_at_each_place(kind):
    layer, _, x = made(kind)
    ones = torch.ones_like(x[:1]).requires_grad_()
    if isinstance(layer, nn.Linear):
        assert (overlaps(layer, x, layer.weight.detach()) == 1).all()
        return
    counting = nn.Conv2d if x.dim() == 4 else nn.Conv1d
    each = counting(x.shape[1], x.shape[1], layer.kernel_size, layer.stride, layer.padding, groups=x.shape[1])
    nn.init.ones_(each.weight)
    (c,) = torch.autograd.grad(each.double()(ones).sum(), ones)
    assert torch.equal(overlaps(layer, x, layer.weight.detach()), c)
    assert (c.min() == 0) == (kind == "gaps")


def test_a_place_that_no_patch_covers_keeps_its_value():
    layer, part, x = made("gaps")
    back = part.invert(torch.randn_like(layer(x)), x)
    assert torch.equal(back[:, :, 2], x[:, :, 2])
    assert torch.equal(back[:, :, :, [2, 5]], x[:, :, :, [2, 5]])
    assert (back[:, :, :2, :2] != x[:, :, :2, :2]).all()


def test_an_activity_is_worked_out_without_running_the_layer_or_touching_the_drive():
    layer, part, x = made("linear", nn.LeakyReLU(0.1, inplace=True))
    calls = []
    part.block.layers[-1].register_forward_hook(lambda *_: calls.append(1))
    drive = layer(x).detach()
    before = drive.clone()
    passage = Passage(x, x, drive, nn.functional.leaky_relu(before, 0.1)[:, :2])
    y = activity(part.nonlinearity, 2, passage)
    assert torch.equal(y, nn.functional.leaky_relu(before, 0.1))
    assert torch.equal(activity(part.nonlinearity, None, passage), passage.output)
    assert torch.equal(drive, before)
    assert not calls


def test_auxiliary_units_are_put_back_beside_those_that_are_passed_on():
    part = InvertibleBlock.of(block_of(nn.Linear(4, 4), FirstUnits(2)), 1e-6, is_first=False)
    used, of = torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 6.0, 7.0, 8.0]])
    assert part.completed(used, of).tolist() == [[1, 2, 7, 8]]
    whole = InvertibleBlock.of(block_of(nn.Linear(4, 4)), 1e-6, is_first=False)
    assert whole.completed(of, used) is of


@pytest.mark.parametrize("kind", ["linear", "tokens", "overlapping patches", "places"])
def test_singular_weights_are_told_by_the_blocks_name(kind):
    layer, part, x = made(kind)
    nn.init.zeros_(layer.weight)
    with pytest.raises(NotFinite, match="weight of '1' is singular") as caught:
        part.invert(layer(x).detach(), x)
    assert "\n" not in str(caught.value)
