import itertools
import math

import numpy as np
import pytest
from scipy import stats

from biograd.statistics import (
    Estimate,
    beside,
    difference_of_middles,
    differences,
    holm,
    interquartile_mean,
    mean_interval,
    measured,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    sign_flip_p_value,
    spread,
)

NAN = math.nan


def drawn(n, seed=0, mean=0.0):
    return list(np.random.default_rng(seed).normal(mean, 1, n))


def test_values_that_are_missing_or_not_finite_are_left_out_and_not_counted():
    values = [1.0, None, NAN, math.inf, 3.0]
    assert measured(values) == [1.0, 3.0]
    assert spread(values) == (2.0, math.sqrt(2), 2)
    assert mean_interval(values) == mean_interval([1.0, 3.0])
    assert spread([NAN]) == (None, None, 0)


def test_pairs_are_seeds_of_which_both_have_a_number():
    ours, theirs = {2: 5.0, 0: 1.0, 1: NAN, 4: 1.0}, {0: 0.5, 1: 0.5, 2: 4.0, 3: 9.0, 4: None}
    assert differences(ours, theirs) == {0: 0.5, 2: 1.0}
    assert paired_difference(ours, theirs) == mean_interval([0.5, 1.0])


def test_what_all_seeds_share_drops_out_of_a_paired_difference():
    seeds, gaps = drawn(5, 1), drawn(5, 2)
    theirs = {place: 100 * value for place, value in enumerate(seeds)}
    ours = {place: theirs[place] + gap for place, gap in enumerate(gaps)}
    assert paired_difference(ours, theirs) == pytest.approx(mean_interval(gaps))


def every_mean(values):
    return [np.mean(chosen) for chosen in itertools.product(values, repeat=len(values))]


@pytest.mark.parametrize("level", [0.5, 0.7])
def test_the_interval_is_between_two_quantiles_of_all_means_that_resampling_can_give(level):
    values = drawn(6)
    tail = stats.norm.cdf(-math.sqrt(6 / 5) * stats.t.ppf((1 + level) / 2, 5))
    found = mean_interval(values, level=level)
    assert found.value == pytest.approx(np.mean(values))
    low, high = np.quantile(every_mean(values), [tail, 1 - tail])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_of_many_normal_values_the_interval_is_students():
    values = drawn(200)
    low, high = stats.ttest_1samp(values, 0).confidence_interval()
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)


@pytest.mark.parametrize("n", [2, 3])
def test_of_few_values_the_interval_is_their_range(n):
    values = drawn(n)
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx((min(values), max(values)))


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert mean_interval([0.5]) == Estimate(0.5, None, None, 1)
    assert mean_interval([None]) == Estimate(None, None, None, 0)


def test_values_that_are_all_alike_have_an_interval_of_no_width():
    assert mean_interval([0.5] * 4) == Estimate(0.5, 0.5, 0.5, 4)


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    values = drawn(8)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_the_interquartile_mean_is_that_of_the_middle_half_of_all_scores():
    scores = {"a": [0.0, 1.5, 2.0, 3.0], "b": [4.0, 5.0, 6.0, 1e6]}
    assert interquartile_mean(scores).value == np.mean([2, 3, 4, 5])
    assert interquartile_mean(scores).n == 8


def test_its_interval_resamples_each_task_alone():
    scores = {"a": [0.0] * 3, "b": [1.0] * 3, "c": [5.0] * 3}
    found = interquartile_mean(scores)
    assert (
        found.low == found.value == found.high
    )  # resampled together, tasks would be drawn more or less often


def test_a_task_of_one_run_leaves_the_interquartile_mean_without_interval():
    assert interquartile_mean({"a": [1.0, 2.0], "b": [3.0, NAN], "c": [None]}) == Estimate(2.0, None, None, 3)


def test_the_probability_of_improvement_is_mann_and_whitneys_u_over_tasks():
    ours = {"a": [1.0, 2.0, 3.0], "b": drawn(4, 1, 1.0), "only ours": [1.0]}
    theirs = {"a": [2.0, 2.0, 0.0], "b": drawn(5, 2), "only theirs": [1.0]}
    wins = [stats.mannwhitneyu(ours[task], theirs[task]).statistic for task in ("a", "b")]
    found = probability_of_improvement(ours, theirs)
    assert found.value == pytest.approx((wins[0] / 9 + wins[1] / 20) / 2)
    assert found.n == 2
    assert found.low < found.value < found.high


def test_of_two_rules_one_is_better_as_often_as_the_other_is_not():
    ours, theirs = {"a": [1.0, 1.0, 2.0]}, {"a": [1.0, 0.0, 2.0]}
    there, back = probability_of_improvement(ours, theirs), probability_of_improvement(theirs, ours)
    assert there.value + back.value == pytest.approx(1)
    assert probability_of_improvement(ours, ours).value == 0.5


def test_without_a_task_in_common_nothing_is_probable():
    assert probability_of_improvement({"a": [1.0]}, {"a": [NAN], "b": [1.0]}) == Estimate(None, None, None, 0)


def test_a_profile_is_the_share_of_runs_above_each_threshold_where_no_number_is_above_none():
    scores = {"a": [0.1, 0.9, NAN, None], "b": [0.5, 0.9]}
    profile = performance_profile(scores, [-1.0, 0.1, 0.5, 1.0])
    assert [one.value for one in profile] == [(0.5 + 1) / 2, (0.25 + 1) / 2, (0.25 + 0.5) / 2, 0]
    assert all(one.low <= one.value <= one.high for one in profile)


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [1.0, -2.0, 4.0, 0.5], [0.0, 0.0]])
def test_a_p_value_counts_the_signs_that_give_as_large_a_mean(values):
    means = [np.mean(np.multiply(signs, values)) for signs in itertools.product((1, -1), repeat=len(values))]
    expected = np.mean(np.abs(means) >= abs(np.mean(values)) - 1e-12)
    assert sign_flip_p_value(values) == pytest.approx(expected)


def test_a_single_pair_can_be_chance_and_none_is_not_tested():
    assert sign_flip_p_value([3.0]) == 1.0
    assert sign_flip_p_value([NAN]) is None


def test_holm_multiplies_the_smallest_by_how_many_there_are_and_never_goes_down():
    given = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "not tested": None}
    expected = {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02, "not tested": None}  # as R's p.adjust has it
    assert holm(given) == pytest.approx(expected)
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_rules_beside_a_reference_are_corrected_for_those_that_were_compared():
    reference = dict(enumerate(drawn(7, 0)))
    others = {
        "one": dict(enumerate(drawn(7, 1, 2.0))),
        "two": dict(enumerate(drawn(7, 2))),
        "elsewhere": {99: 1.0},
    }
    found = beside(reference, others)
    pairs = differences(others["one"], reference).values()
    assert found["one"].difference == mean_interval(pairs, level=0.975)
    expected = holm({n: sign_flip_p_value(differences(others[n], reference).values()) for n in others})
    assert {name: one.p_value for name, one in found.items()} == expected
    assert found["elsewhere"] == (Estimate(None, None, None, 0), None)


def test_intervals_of_several_comparisons_are_wider_than_of_one():
    reference, rule = dict(enumerate(drawn(9, 0))), dict(enumerate(drawn(9, 1)))
    alone = beside(reference, {"rule": rule})["rule"].difference
    among = beside(reference, {str(place): rule for place in range(10)})["0"].difference
    assert among.low < alone.low < alone.high < among.high


def test_the_difference_of_middles_is_of_the_middle_halves_and_bootstrapped_on_both_sides():
    ours, theirs = [9.0, 1.0, 2.0, 3.0, 4.0, None, 5.0, 6.0, 90.0], [0.0, 1.0, 1.0, 2.0]
    found = difference_of_middles(ours, theirs)
    assert (found.value, found.n) == (4.5 - 1.0, 4)
    assert found.low < found.value < found.high
    assert difference_of_middles([3.0] * 4, [1.0] * 4) == (2.0, 2.0, 2.0, 4)
    assert difference_of_middles([3.0], [1.0] * 4)[:3] == (2.0, None, None)
    assert difference_of_middles([], [1.0]) == (None, None, None, 0)
