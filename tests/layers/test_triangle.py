"""The Triangle activation."""

import numpy as np
import pytest
import torch

from biograd.errors import UserMistake
from biograd.layers import Triangle


@pytest.mark.parametrize("shape", [(5, 6), (3, 6, 4), (2, 6, 4, 5)])
@pytest.mark.parametrize("power", [0.7, 1.0, 1.4, 2.0])
def test_a_neuron_gives_how_far_it_is_above_the_mean_of_its_place(shape, power):
    u = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).numpy()
    expected = np.zeros_like(u)
    for place in np.ndindex(u.shape[0], *u.shape[2:]):
        neurons = (place[0], slice(None), *place[1:])
        expected[neurons] = np.maximum(u[neurons] - u[neurons].mean(), 0) ** power
    np.testing.assert_allclose(Triangle(power)(torch.from_numpy(u)).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("power", [0.7, 1.0, 2.0])
def test_its_derivative_is_exact_and_finite_where_neurons_are_silent(power):
    u = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(Triangle(power), u)
    silent = torch.zeros(2, 3, requires_grad=True)
    Triangle(power)(silent).sum().backward()
    assert silent.grad is not None
    assert torch.equal(silent.grad, torch.zeros(2, 3))


def test_the_input_stays_as_it_is():
    u = torch.tensor([[1.0, 5.0]])
    Triangle()(u)
    assert u.tolist() == [[1.0, 5.0]]


def test_it_has_no_parameters_and_shows_its_power():
    assert list(Triangle().state_dict()) == []
    assert repr(Triangle(0.7)) == "Triangle(power=0.7)"


@pytest.mark.parametrize("power", [0.0, -1.0, float("nan")])
def test_a_power_that_is_not_above_zero_is_refused(power):
    with pytest.raises(UserMistake, match="power must be above 0"):
        Triangle(power)
