"""The fused ways are PyTorch's own to rounding, and PyTorch's own where they do not apply."""

import pytest
import torch
import torch.nn.functional as F

from biograd.layers import onednn
from biograd.layers.fused import FusedLinear, FusedTanh, fused_linear, fused_tanh

LARGE = (160, 128, 112)  # batch, in, out: enough multiplications
SMALL = (3, 5, 4)


def layer(sizes: tuple[int, int, int], dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    batch, into, out = sizes
    shapes = ((batch, into), (out, into), (out,))
    return tuple((torch.randn(shape) / into**0.5).to(dtype).requires_grad_() for shape in shapes)


def test_tanh_is_right_to_two_ten_millionths_in_single_precision_and_exact_in_double():
    x = torch.cat([torch.linspace(-20, 20, 10001), torch.tensor([1e-6, -1e-6, 1e30, -torch.inf])])
    assert (fused_tanh(x).double() - x.double().tanh()).abs().max() < 2e-7
    assert torch.equal(fused_tanh(x.double()), x.double().tanh())
    assert fused_tanh(torch.tensor([torch.nan])).isnan()


@pytest.mark.parametrize("tanh", [False, True])
@pytest.mark.parametrize("sizes", [LARGE, SMALL])
@pytest.mark.parametrize("wanted", [(0, 1, 2), (1,), (0,)])
def test_linear_and_its_gradients_are_pytorchs_to_rounding(sizes, tanh, wanted):
    x, W, b = layer(sizes)
    signal = torch.randn(sizes[0], sizes[2])
    inputs = [t if i in wanted else t.detach() for i, t in enumerate((x, W, b))]
    got = fused_linear(*inputs, tanh=tanh)
    gradients = torch.autograd.grad(got, [inputs[i] for i in wanted], signal)
    exact = F.linear(x.double(), W.double(), b.double())
    exact = exact.tanh() if tanh else exact
    expected = torch.autograd.grad(exact, [(x, W, b)[i] for i in wanted], signal.double())
    torch.testing.assert_close(got, exact.float(), rtol=0, atol=5e-6)
    for gradient, right in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-5, atol=1e-4)


@pytest.mark.skipif(not onednn.IS_AVAILABLE, reason="this PyTorch has no oneDNN")
def test_large_products_go_by_onednn_and_small_ones_do_not():
    x, W, b = layer(LARGE)
    assert "FusedLinear" in str(fused_linear(x, W, b).grad_fn)
    x, W, b = layer(SMALL)
    assert "Addmm" in str(fused_linear(x, W, b).grad_fn)
    x, W, b = layer(LARGE, torch.float64)
    assert torch.equal(fused_linear(x, W, b), F.linear(x, W, b))


def test_autocast_is_followed():
    x, W, b = layer(LARGE)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fused_linear(x, W, b), F.linear(x, W, b))
        assert fused_linear(x, W, b, tanh=True).dtype == torch.bfloat16


def test_modules_say_what_they_do():
    module = FusedLinear(5, 4, tanh=True)
    assert "in_features=5, out_features=4, bias=True, tanh=True" in repr(module)
    x = torch.randn(3, 5)
    torch.testing.assert_close(module(x), torch.tanh(F.linear(x, module.weight, module.bias)))
    torch.testing.assert_close(FusedTanh()(x), torch.tanh(x))
