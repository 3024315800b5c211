"""Every kind of layer: forward bit for bit, B = W is backpropagation, any other B is the equation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from biograd.credit import feedback_path
from biograd.layers import LocallyConnected2d
from biograd.layers.local.own_filters import OwnFilters
from tests.credit.layers import LAYERS
from tests.credit.taught import assert_same, plain_pass, random_feedback, same_as_weights, taught_pass
from tests.equations.joins import bias_gradient, joins_of, with_bias

# PyTorch's own word on its own "same" convolutions.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def make(name):
    torch.manual_seed(0)
    factory, shape = LAYERS[name]
    return factory().double(), torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("name", LAYERS)
def test_with_B_equal_to_W_a_layer_is_backpropagation_and_its_forward_bit_for_bit_its_own(name):
    layer, x = make(name)
    assert_same(taught_pass(layer, x, same_as_weights(layer)), plain_pass(layer, x))


def assert_equation(layer, x):
    """Input gradient through B alone, weight gradient from the layer's own input, from the list of joins."""
    dimensions = x.dim() if isinstance(layer, nn.Linear) else layer.weight.dim()
    dimensions = layer.dimensions + 2 if isinstance(layer, OwnFilters) else dimensions
    batch = x if x.dim() == dimensions and x.dim() > 1 else x.unsqueeze(0)
    feedback = random_feedback(layer)
    taught = taught_pass(layer, x, feedback)
    joins = joins_of(layer, tuple(batch.shape[1:]))
    W, B, inputs = layer.weight.detach().numpy(), feedback["weight"].numpy(), batch.numpy()
    y = with_bias(layer, joins.forward(inputs, W))
    e = 2 * y  # derivative of the sum of squares
    assert_close(taught.output, y)
    assert_close(taught.input_gradient, joins.error_back(e, B, inputs.shape))
    assert_close(taught.gradients["weight"], joins.weight_gradient(e, inputs, W))
    if layer.bias is not None:
        assert_close(taught.gradients["bias"], bias_gradient(layer, e))


def assert_close(tensor, array):
    np.testing.assert_allclose(tensor.numpy().ravel(), array.ravel(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_with_any_other_B_the_error_goes_back_through_B_and_the_weight_learns_from_its_own_input(name):
    assert_equation(*make(name))


sizes = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def convolutions(draw):
    groups = draw(st.integers(1, 2))
    kernel, dilation = draw(sizes), draw(sizes)
    same = draw(st.booleans())
    kind = draw(st.sampled_from(["plain", "transposed", "local"]))
    if kind == "transposed":
        stride = draw(sizes)
        extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
        reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        padding = tuple(draw(st.integers(0, r // 2)) for r in reach)
        layer = nn.ConvTranspose2d(
            2 * groups, groups, kernel, stride, padding, extra, groups, draw(st.booleans()), dilation
        )
        return layer.double(), (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    mode = draw(st.sampled_from(["zeros", "circular", "replicate"]))
    stride = (1, 1) if same else draw(sizes)
    padding = "same" if same else draw(st.tuples(st.integers(0, 1), st.integers(0, 1)))
    least = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(n + draw(st.integers(0, 2)) for n in least)
    arguments = {"groups": groups, "bias": draw(st.booleans()), "padding_mode": mode, "dilation": dilation}
    if kind == "local":
        layer = LocallyConnected2d(groups, 2 * groups, kernel, size, stride, padding, **arguments)
    else:
        layer = nn.Conv2d(groups, 2 * groups, kernel, stride, padding, **arguments)
    return layer.double(), size


@given(convolutions(), st.integers(1, 2))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_equation_holds_for_any_geometry(layer_and_size, batch):
    layer, size = layer_and_size
    torch.manual_seed(1)
    x = torch.randn(batch, layer.in_channels, *size, dtype=torch.float64)
    assert_equation(layer, x)
    assert_same(taught_pass(layer, x, same_as_weights(layer)), plain_pass(layer, x))


@pytest.mark.parametrize("name", ["linear 2-d", "conv2d zeros", "transposed 2d", "locally connected"])
def test_a_layer_whose_input_needs_no_gradient_learns_the_same(name):
    layer, x = make(name)
    expected = plain_pass(layer, x).gradients
    with feedback_path(layer, random_feedback(layer)):
        output = layer(x)
    output.square().sum().backward()
    assert x.grad is None
    for parameter_name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[parameter_name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_what_a_layer_gives_may_be_overwritten(name):
    layer, x = make(name)
    net = nn.Sequential(layer, nn.ReLU(inplace=True))
    assert_same(taught_pass(net, x, same_as_weights(net)), plain_pass(net, x))
