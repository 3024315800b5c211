import dataclasses

import numpy as np
import pytest

from biograd.theory.kernels import first_error, kernels, linearised, predicted_slope
from biograd.theory.problem import draw
from biograd.theory.settings import SimulationSettings
from tests.theory.plain_two_layer import PSI, train

ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid")


def settings(activation, **changes):
    return SimulationSettings(
        activation=activation, width=9, examples=5, features=7, normalize=True, **changes
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_kernels_are_the_sums_that_define_them(activation):
    given = settings(activation)
    problem = draw(given, 0)
    psi, slope = PSI[activation]
    both, U = kernels(given, problem), problem.X @ problem.W.T
    for i in range(5):
        for j in range(5):
            G = sum(psi(U[i, r]) * psi(U[j, r]) for r in range(9)) / 9
            H = (
                (problem.X[i] @ problem.X[j])
                / 9
                * sum(
                    problem.beta[r] * problem.b[r] * slope(U[i, [r]])[0] * slope(U[j, [r]])[0]
                    for r in range(9)
                )
            )
            assert both.G[i, j] == pytest.approx(G, abs=1e-12)
            assert both.H[i, j] == pytest.approx(H, abs=1e-12)


@pytest.mark.parametrize("method", ["fa", "bp"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_small_step_moves_the_error_by_both_kernels(activation, method):
    given = settings(activation, method=method, units="paper", learning_rate=1e-7)
    problem = draw(given, 0)
    both, e = kernels(given, problem), first_error(given, problem)
    _, _, after = train(given, problem, 0.0, 1)
    moved = (e - after) / given.rate
    assert np.allclose(moved, (both.G + both.H) @ e, rtol=0, atol=1e-5)
    assert np.abs(both.H @ e).max() > 1e-2


@pytest.mark.parametrize("units", ["published", "paper"])
def test_the_recursion_is_what_it_says_step_by_step(units):
    given = settings("relu", units=units, learning_rate=0.05)
    problem = draw(given, 0)
    both, e = kernels(given, problem), first_error(given, problem)
    eta, losses = 0.05 * (2 / 5 if units == "published" else 1), []
    for _ in range(4):
        losses.append(e @ e / 5 if units == "published" else e @ e / 2)
        e = e - eta * (both.G + both.H) @ e
    found = linearised(given, both, first_error(given, problem), [0, 1, 3])
    assert found == pytest.approx([losses[0], losses[1], losses[3]], rel=1e-12)
    assert predicted_slope(given, both) == pytest.approx(2 * eta * np.linalg.eigvalsh(both.G).min())


def test_the_first_layers_kernel_falls_with_the_width_and_the_second_layers_does_not():
    def means(width):
        given = SimulationSettings(activation="tanh", width=width, normalize=True)
        found = [kernels(given, draw(given, trial)) for trial in range(4)]
        return np.mean([[one.first_layer_norm, one.slowest] for one in found], 0)

    (narrow, low), (wide, high) = means(200), means(3200)
    assert 2.5 < narrow / wide < 6  # about 16 ** 0.5
    assert 0.04 < low < high < 0.12


def test_norms_are_of_the_largest_eigenvalue_and_the_smallest():
    given = settings("tanh")
    both = dataclasses.replace(kernels(given, draw(given, 0)), G=np.diag([3.0, 1.0]), H=np.diag([-5.0, 2.0]))
    assert both.slowest == pytest.approx(1)
    assert both.first_layer_norm == pytest.approx(5)
