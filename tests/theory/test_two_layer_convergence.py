import copy
import dataclasses
import math

import numpy as np
import pytest

from biograd.errors import UserMistake
from biograd.theory.convergence import late_slope, rows, steps_needed
from biograd.theory.kernel_norms import kernel_norms
from biograd.theory.kernels import first_error, kernels, linearised, predicted_slope
from biograd.theory.problem import draw
from biograd.theory.settings import SimulationSettings
from biograd.theory.simulations import Simulation, run

WIDE = SimulationSettings(
    activation="tanh", width=600, examples=5, features=30, normalize=True, precision="float64"
)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    given = dataclasses.replace(WIDE, steps=steps_needed(WIDE, 2), regularization=(0.0, 0.01))
    return run([Simulation(given, 2, follow=200)], tmp_path_factory.mktemp("simulations"))[0]


def test_the_steps_are_those_in_which_the_loss_falls_by_twelve_powers_of_ten(record):
    slopes = [predicted_slope(WIDE, kernels(WIDE, draw(WIDE, trial))) for trial in range(2)]
    assert steps_needed(WIDE, 2) == math.ceil(12 * math.log(10) / min(slopes))
    free, _ = rows(record)
    assert 1e-15 < free["loss"][-1] / free["loss"][0] < 1e-9


def test_the_loss_follows_the_recursion_and_ends_with_the_predicted_slope(record):
    free, regularised = rows(record)
    assert free["steps"][:3] == [0, 200, 400]
    assert free["linearised"][0] == pytest.approx(free["loss"][0], rel=1e-5)
    assert 0.85 < free["slope_ratio"] < 1.15
    assert 0.95 < free["recursion_ratio"] < 1.1
    assert free["decades_apart"] < 1.5
    assert regularised["loss"][-1] > 1e-6
    assert regularised["linearised"] is regularised["slope_ratio"] is None


@pytest.mark.parametrize("name", ["loss", "steps"])
def test_a_trial_with_gaps_in_its_curves_is_refused_in_one_line(name, record):
    damaged = copy.deepcopy(record)
    damaged["outcomes"][-1]["curves"][name][1] = None if name == "loss" else 7
    with pytest.raises(UserMistake, match="trial 1 did not diverge, but its curves have gaps or other steps"):
        rows(damaged)


def test_rows_are_means_over_trials(record):
    free, _ = rows(record)
    both = [one for one in record["outcomes"] if one["regularization"] == 0.0]
    losses = [one["curves"]["loss"][3] for one in both]
    cosines = [one["curves"]["cosine"][3] for one in both]
    assert free["loss"][3] == pytest.approx(math.sqrt(losses[0] * losses[1]))
    assert free["loss_high"][3] / free["loss"][3] == pytest.approx(np.exp(np.std(np.log(losses), ddof=1)))
    assert free["loss_low"][3] * free["loss_high"][3] == pytest.approx(free["loss"][3] ** 2)
    assert free["cosine"][3] == pytest.approx(sum(cosines) / 2)
    assert free["cosine_sd"][3] == pytest.approx(abs(cosines[0] - cosines[1]) / math.sqrt(2))
    for name in ("first_layer", "second_layer"):
        assert free[name][3] == pytest.approx(sum(one["curves"][name][3] for one in both) / 2)
    starts = [(kernels(WIDE, draw(WIDE, trial)), first_error(WIDE, draw(WIDE, trial))) for trial in range(2)]
    recursions = [linearised(WIDE, *start, [600])[0] for start in starts]
    assert free["linearised"][3] == pytest.approx(math.sqrt(recursions[0] * recursions[1]))


def test_trials_that_diverged_have_no_part_and_are_counted(record):
    broken = [dict(one) for one in record["outcomes"]]
    broken[0]["diverged"] = True
    free, _ = rows({**record, "outcomes": broken})
    assert (free["trials"], free["diverged"], free["cosine_sd"], free["slope_ratio_sd"]) == (2, 1, None, None)
    assert free["loss"][-1] == pytest.approx(broken[2]["curves"]["loss"][-1])
    none = rows({**record, "outcomes": [{**one, "diverged": True} for one in broken]})
    assert none[0]["steps"] == []


def test_the_late_slope_is_that_of_the_last_quarter():
    steps = list(range(0, 101, 5))
    losses = np.exp([-1.0 * min(step, 75) - 0.1 * max(step - 75, 0) for step in steps])
    assert late_slope(steps, losses) == pytest.approx(0.1)


def test_there_is_no_late_slope_without_two_points_so_late(tmp_path):
    assert late_slope([0, 1, 2], np.array([4.0, 2.0, 1.0])) is None
    (row,) = rows(run([Simulation(dataclasses.replace(WIDE, steps=2), 2, follow=1)], tmp_path)[0])
    assert row["slope_ratio"] is row["slope_ratio_sd"] is row["recursion_ratio"] is None
    assert row["predicted_slope"] > 0


def test_a_singular_kernel_predicts_nothing():
    narrow = dataclasses.replace(WIDE, width=3)
    with pytest.raises(UserMistake, match="width 3 and 5 examples the kernel G is singular"):
        steps_needed(narrow, 1)


def test_norms_of_kernels_are_means_over_draws_and_their_exponent_is_fitted():
    told = []
    found = kernel_norms(WIDE, [50, 200], 3, tell=told.append)
    at = dataclasses.replace(WIDE, width=200)
    norms = [kernels(at, draw(at, trial)).first_layer_norm for trial in range(3)]
    row = found["rows"][1]
    assert row["width"] == 200
    assert row["first_layer_mean"] == pytest.approx(np.mean(norms))
    assert row["first_layer_sd"] == pytest.approx(np.std(norms, ddof=1))
    assert row["slowest_mean"] == pytest.approx(
        np.mean([kernels(at, draw(at, trial)).slowest for trial in range(3)])
    )
    ratio = found["rows"][1]["first_layer_mean"] / found["rows"][0]["first_layer_mean"]
    assert found["exponent"] == pytest.approx(math.log(ratio) / math.log(4))
    assert found["standard_error"] > 0
    assert told == [1, 2, 3, 4, 5, 6]
    assert kernel_norms(WIDE, [50, 200], 1)["standard_error"] is None


def test_a_norm_of_zero_has_no_exponent():
    one = dataclasses.replace(WIDE, activation="relu", examples=1)
    with pytest.raises(UserMistake, match="is 0 in a draw"):
        kernel_norms(one, [1, 2], 4)


def test_one_width_has_no_exponent():
    with pytest.raises(UserMistake, match="two at least"):
        kernel_norms(WIDE, [50], 1)
