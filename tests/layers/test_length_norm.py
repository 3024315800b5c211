import pytest
import torch

from biograd.layers import LengthNorm


@pytest.mark.parametrize("shape", [(5, 8), (5, 2, 3, 4)])
def test_every_example_has_a_mean_square_of_one_and_points_where_it_did(shape):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64) * 30 + 2
    y = LengthNorm()(x).flatten(1)
    torch.testing.assert_close(y.square().mean(1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(torch.cosine_similarity(y, x.flatten(1)), torch.ones(5, dtype=torch.float64))


def test_silence_stays_silent_and_has_a_finite_derivative():
    x = torch.zeros(2, 3, requires_grad=True)
    y = LengthNorm()(x)
    y.sum().backward()
    assert not y.any()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_half_precision_does_not_overflow():
    y = LengthNorm()(torch.full((1, 4), 1000.0, dtype=torch.float16))
    assert y.dtype == torch.float16
    assert torch.equal(y, torch.ones(1, 4, dtype=torch.float16))


def test_the_length_tells_the_next_layer_nothing():
    x = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(LengthNorm()(x), LengthNorm()(7 * x))
