"""What a locally connected layer computes: values, gradients, and what makes it a convolution."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from biograd import layers
from biograd.layers import LocallyConnected1d, LocallyConnected2d, locally_connected2d
from tests.layers import plain
from tests.layers.plain import CASES


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("has_bias", [True, False])
def test_values_are_those_of_a_plain_loop(name, has_bias):
    x, weight, bias = CASES[name].draw()
    bias = bias if has_bias else None
    expected = plain.product(x, weight, bias, **CASES[name].options)
    torch.testing.assert_close(CASES[name].function(x, weight, bias, **CASES[name].options), expected)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_finite_differences(name):
    inputs = [tensor.requires_grad_() for tensor in CASES[name].draw()]
    assert torch.autograd.gradcheck(lambda *a: CASES[name].function(*a, **CASES[name].options), inputs)


@pytest.mark.parametrize("name", ["strided", "same", "grouped"])
def test_gradients_of_gradients_are_those_of_finite_differences(name):
    inputs = [tensor.requires_grad_() for tensor in CASES[name].draw()]
    assert torch.autograd.gradgradcheck(lambda *a: CASES[name].function(*a, **CASES[name].options), inputs)


@pytest.mark.parametrize("batch", [0, 1])
def test_gradients_of_gradients_are_right_for_a_batch_of_one_and_of_none(batch):
    case = plain.Case(size=(5, 4), kernel=(3, 2), batch=batch)
    inputs = [tensor.requires_grad_() for tensor in case.draw()]
    assert torch.autograd.gradgradcheck(locally_connected2d, inputs)


def test_complex_numbers_are_conjugated_as_autograd_wants():
    case = plain.Case(size=(4, 3), kernel=(2, 2), options={"padding": 1, "stride": 2})
    x, weight, _ = (tensor.requires_grad_() for tensor in case.draw(torch.complex128))
    assert torch.autograd.gradcheck(lambda *a: locally_connected2d(*a, None, **case.options), (x, weight))


def sides(least, most):
    """A number for each of three dimensions, of which the first ones are taken."""
    return st.tuples(*(st.integers(least, most) for _ in range(3)))


@settings(max_examples=80, deadline=None)
@given(
    dimensions=st.integers(1, 3),
    kernel=sides(1, 3),
    stride=sides(1, 3),
    padding=st.one_of(sides(0, 2), st.sampled_from(["same", "valid"])),
    dilation=sides(1, 2),
    groups=st.integers(1, 3),
    size=sides(3, 6),
    batch=st.integers(0, 3),
    has_bias=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_one_filter_at_all_positions_is_a_convolution(
    dimensions, kernel, stride, padding, dilation, groups, size, batch, has_bias
):
    kernel, stride, dilation, size = (sides[:dimensions] for sides in (kernel, stride, dilation, size))
    padding = padding if isinstance(padding, str) else padding[:dimensions]
    assume(padding != "same" or max(stride) == 1)
    around = (0,) * dimensions if isinstance(padding, str) else padding
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    fits = all(s + 2 * p >= k for s, p, k in zip(size, around, span, strict=True))
    assume(padding == "same" or fits)
    torch.manual_seed(1)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": has_bias}
    shared = getattr(nn, f"Conv{dimensions}d")(2 * groups, 4 * groups, kernel, **options, dtype=torch.float64)
    kind = getattr(layers, f"LocallyConnected{dimensions}d")
    local = share(shared, kind(2 * groups, 4 * groups, kernel, size, **options, dtype=torch.float64))
    assert_same_step(local, shared, torch.randn(batch, 2 * groups, *size, dtype=torch.float64))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [(2, 1), "same"])
def test_padding_modes_are_those_of_a_convolution(mode, padding):
    options = {"padding": padding, "padding_mode": mode, "dtype": torch.float64}
    shared = nn.Conv2d(2, 3, (3, 4), **options)
    if padding == "same" and mode == "zeros":
        shared = nn.Sequential(nn.ZeroPad2d((1, 2, 1, 1)), nn.Conv2d(2, 3, (3, 4), dtype=torch.float64))
    convolution = shared[1] if isinstance(shared, nn.Sequential) else shared
    local = share(convolution, LocallyConnected2d(2, 3, (3, 4), (6, 5), **options))
    assert_same_step(local, shared, torch.randn(2, 2, 6, 5, dtype=torch.float64), convolution)


def share(shared, local):
    """Give every position the filter and bias of the convolution."""
    with torch.no_grad():
        local.weight.copy_(shared.weight.movedim((0, 1), (-1, -2)))
        if local.bias is not None and shared.bias is not None:
            local.bias.copy_(shared.bias.view(-1, *(1,) * local.dimensions))
    return local


def assert_same_step(local, shared, x, convolution=None):
    convolution, n = convolution or shared, local.dimensions
    x, twin = x.requires_grad_(), x.detach().clone().requires_grad_()
    y, expected = local(x), shared(twin)
    torch.testing.assert_close(y, expected)
    gradient = torch.randn_like(expected)
    y.backward(gradient)
    expected.backward(gradient)
    torch.testing.assert_close(x.grad, twin.grad)
    by_filter = local.weight.grad.sum(tuple(range(n)))  # (*kernel, in, out)
    torch.testing.assert_close(by_filter.movedim((-1, -2), (0, 1)), convolution.weight.grad)
    if local.bias is not None:
        torch.testing.assert_close(local.bias.grad.flatten(1).sum(1), convolution.bias.grad)


def test_every_position_has_a_filter_of_its_own():
    layer = LocallyConnected2d(2, 3, 3, (5, 5), bias=False, dtype=torch.float64)
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    before = layer(x)
    with torch.no_grad():
        layer.weight[1, 2] += 1
    changed = (layer(x) != before).any(0).any(0)
    assert changed.nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes_hold_in_one_dimension(mode):
    options = {"padding": 2, "padding_mode": mode, "dtype": torch.float64}
    shared = nn.Conv1d(2, 3, 4, **options)
    local = share(shared, LocallyConnected1d(2, 3, 4, 7, **options))
    assert_same_step(local, shared, torch.randn(2, 2, 7, dtype=torch.float64))


def test_an_input_without_batch_is_one_example():
    layer = LocallyConnected2d(2, 3, 3, (5, 4), padding=1)
    x = torch.randn(2, 5, 4, requires_grad=True)
    y = layer(x)
    torch.testing.assert_close(y, layer(x[None])[0])
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_an_empty_batch_gives_an_empty_output_and_zero_gradients():
    layer = LocallyConnected2d(2, 3, 3, (5, 4))
    x = torch.randn(0, 2, 5, 4, requires_grad=True)
    y = layer(x)
    assert y.shape == (0, 3, 3, 2)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert not layer.weight.grad.any()


@pytest.mark.parametrize("frozen", ["weight", "bias", "input"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_its_own(frozen):
    layer = LocallyConnected2d(2, 3, 3, (5, 4), dtype=torch.float64)
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    layer(x).square().sum().backward()
    whole = {"input": x.grad, "weight": layer.weight.grad, "bias": layer.bias.grad}
    layer.zero_grad()
    x = x.detach().requires_grad_()
    {"input": x, "weight": layer.weight, "bias": layer.bias}[frozen].requires_grad_(False)
    layer(x).square().sum().backward()
    found = {"input": x.grad, "weight": layer.weight.grad, "bias": layer.bias.grad}
    assert found.pop(frozen) is None
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, whole[name])


def test_an_in_place_nonlinearity_may_follow():
    net = nn.Sequential(LocallyConnected2d(2, 3, 3, (5, 4)), nn.ReLU(inplace=True))
    twin = nn.Sequential(copy.deepcopy(net[0]), nn.ReLU())
    x = torch.randn(2, 2, 5, 4)
    for model in (net, twin):
        model(x).square().sum().backward()
    torch.testing.assert_close(net[0].weight.grad, twin[0].weight.grad, rtol=0, atol=0)


def test_a_trained_layer_fits_a_teacher():
    teacher, student = (LocallyConnected2d(1, 2, 3, (4, 4), padding=1) for _ in range(2))
    optimizer = torch.optim.Adam(student.parameters(), lr=0.03)
    x = torch.randn(64, 1, 4, 4)
    target = teacher(x).detach()
    for _ in range(150):
        optimizer.zero_grad(set_to_none=False)
        loss = F.mse_loss(student(x), target)
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3
