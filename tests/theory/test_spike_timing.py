import numpy as np
import pytest

from biograd.theory.spike_timing import (
    Example,
    Window,
    changes,
    group_changes,
    input_spikes,
    output_spikes,
    race,
    sigmoid,
    softmax,
)

TRIALS = 4000
H = np.array([0.2, 0.6, 1.0])
UNBALANCED = Window(a_minus=0.9)
SYMMETRIC = Window(tau_minus=0.017, a_minus=1.0)


def simulated(example, free, taught, h=H, trials=TRIALS, seed=0):
    rng = np.random.default_rng(seed)
    return changes(rng, example, h, np.full(trials, free), np.full(trials, taught))


def distance(samples, expected):
    """Of the means from what was expected, in standard errors."""
    error = samples.std(0, ddof=1) / np.sqrt(len(samples))
    return np.abs(samples.mean(0) - expected) / error


def plain_change(example, pre, post):
    """The window over all pairs, one by one."""
    w, total = example.window, 0.0
    for before in pre:
        for after in post:
            lag = after - before
            if lag > 0:
                total += w.a_plus * np.exp(-lag / w.tau_plus)
            else:
                total -= w.a_minus * np.exp(lag / w.tau_minus)
    return total


def integral(example, h, free, taught, points=2000):
    """ρ² h ∫∫ r(u) K(u − t) du dt by the midpoint rule."""
    length = example.half + example.outlasts
    t = (np.arange(points) + 0.5) / points * 2 * example.half - example.half
    u = (np.arange(4 * points) + 0.5) / (4 * points) * 2 * length - length
    rate = np.where(u < 0, free, taught)
    inner = np.array([(rate * example.window(u - one)).mean() for one in t]) * 2 * length
    return example.rate**2 * h * inner.mean() * 2 * example.half


def test_a_pair_counts_by_which_spike_was_first_and_by_how_far_apart_they_are():
    window = Window(a_plus=2.0, a_minus=3.0, tau_plus=0.01, tau_minus=0.02)
    lag = np.array([0.01, 0.02, -0.02, -0.04, np.inf, -np.inf])
    e = np.exp(-1)
    assert np.allclose(window(lag), [2 * e, 2 * e**2, -3 * e, -3 * e**2, 0, 0])


def test_every_pair_of_spikes_counts_once():
    example, h = Example(), np.array([0.3, 0.9])
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    free, taught = np.array([0.2, 0.0, 0.7]), np.array([1.0, 0.0, 0.5])
    found = changes(rng, example, h, free, taught)
    trial, source, time = input_spikes(again, example, h, 3)
    post = output_spikes(again, example, free, taught)
    slow = [
        [
            plain_change(example, time[(trial == n) & (source == i)], post[n][np.isfinite(post[n])])
            for i in range(2)
        ]
        for n in range(3)
    ]
    assert np.allclose(found, slow)
    assert np.all(found[1] == 0)


def test_pairs_in_many_portions_are_the_same(monkeypatch):
    whole = simulated(Example(), 0.4, 1.0, trials=50)
    monkeypatch.setattr("biograd.theory.spike_timing._PAIRS_AT_ONCE", 1000)
    assert np.allclose(simulated(Example(), 0.4, 1.0, trials=50), whole)


def test_trains_have_their_rates_and_their_times():
    example, rng = Example(half=0.1, outlasts=0.3, rate=200.0), np.random.default_rng(0)
    trial, source, time = input_spikes(rng, example, np.array([0.5, 0.0, 1.0]), TRIALS)
    counts = np.bincount(source, minlength=3) / TRIALS
    assert np.allclose(counts, [20, 0, 40], atol=4 * np.sqrt(40 / TRIALS))
    assert (trial.min(), trial.max()) == (0, TRIALS - 1)
    assert np.abs(time).max() < 0.1 < 2 * np.abs(time).max()
    post = output_spikes(rng, example, np.full(TRIALS, 0.25), np.full(TRIALS, 1.0))
    post = post[np.isfinite(post)]
    assert np.abs(post).max() < 0.4
    assert abs((post < 0).sum() / TRIALS - 20) < 4 * np.sqrt(20 / TRIALS)
    assert abs((post > 0).sum() / TRIALS - 80) < 4 * np.sqrt(80 / TRIALS)


@pytest.mark.parametrize(
    "example",
    [
        Example(),
        Example(half=0.03),
        Example(window=UNBALANCED),
        Example(outlasts=0.0),
        Example(outlasts=0.02, window=UNBALANCED),
    ],
    ids=["as it is", "short", "unbalanced", "firing ends with the example", "all terms"],
)
def test_the_equation_is_the_integral_of_the_window(example):
    for free, taught in ((0.3, 1.0), (0.7, 0.0), (0.4, 0.4)):
        exact = integral(example, 0.8, free, taught)
        assert np.isclose(
            example.expected_change(0.8, free, taught), exact, rtol=2e-3, atol=2e-3 * example.gain
        )


@pytest.mark.parametrize(("free", "taught"), [(0.3, 1.0), (0.3, 0.0), (0.9, 1.0), (0.05, 0.0), (0.2, 0.6)])
def test_the_mean_change_is_input_times_taught_minus_free(free, taught):
    example = Example()
    assert np.all(distance(simulated(example, free, taught), example.gain * H * (taught - free)) < 4)


def test_without_a_teaching_current_nothing_changes_on_average():
    assert np.all(distance(simulated(Example(), 0.6, 0.6), 0.0) < 4)


def test_an_unbalanced_window_adds_a_term_that_does_not_know_the_teacher():
    example = Example(window=UNBALANCED)
    found = simulated(example, 0.6, 0.6)
    assert np.all(distance(found, example.expected_change(H, 0.6, 0.6)) < 4)
    assert np.all(distance(found, 0.0) > 8)


def test_where_the_firing_ends_with_the_example_a_symmetric_window_gives_half_the_change_and_another_not():
    example = Example(outlasts=0.0, window=SYMMETRIC)
    tau = SYMMETRIC.tau_plus
    found = simulated(example, 0.3, 1.0)
    assert np.all(distance(found, example.expected_change(H, 0.3, 1.0)) < 4)
    assert np.allclose(
        example.expected_change(H, 0.3, 1.0), example.rate**2 * tau**2 * H * 0.7, rtol=2 * np.exp(-0.1 / tau)
    )
    biased = Example(outlasts=0.0)
    found = simulated(biased, 0.6, 0.6)
    assert np.all(distance(found, biased.expected_change(H, 0.6, 0.6)) < 4)
    assert np.all(distance(found, 0.0) > 8)


def test_the_first_to_spike_is_as_the_softmax_says():
    z, beta = np.array([-0.5, 0.0, 0.4, 1.0]), 2.0
    first = race(np.random.default_rng(0), np.exp(beta * z), 20_000)
    expected = softmax(beta * z)
    assert np.allclose(expected, np.exp(beta * z) / np.exp(beta * z).sum())
    frequency = np.bincount(first, minlength=4) / len(first)
    assert np.all(np.abs(frequency - expected) < 4 * np.sqrt(expected * (1 - expected) / len(first)))


@pytest.mark.parametrize("taught", [0.0, 1.0])
def test_a_group_learns_on_average_as_the_rule_says(taught):
    example, z, beta = Example(), np.array([-0.4, 0.1, 0.3, 0.8]), 1.5
    found = group_changes(np.random.default_rng(1), example, H, z, taught, beta, 2 * TRIALS)
    rule = example.gain * np.outer(softmax(beta * z) * (taught - sigmoid(z)), H)
    assert found.shape == (2 * TRIALS, 4, 3)
    assert np.all(distance(found, rule) < 4)
    assert np.all((found != 0).any(2).sum(1) <= 1)  # the others of the group are silent


def test_the_error_of_the_mean_falls_with_the_root_of_the_trials():
    example = Example()
    found = simulated(example, 0.3, 1.0, h=np.ones(1), trials=64 * 250)[:, 0] / example.gain - 0.7

    def error(trials):
        return np.sqrt((found.reshape(-1, trials).mean(1) ** 2).mean())

    assert 2.5 < error(25) / error(250) < 4.0  # √10 = 3.16
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))


def test_the_same_seed_gives_the_same_spikes():
    assert np.array_equal(simulated(Example(), 0.3, 1.0, seed=5), simulated(Example(), 0.3, 1.0, seed=5))
    assert not np.array_equal(simulated(Example(), 0.3, 1.0, seed=5), simulated(Example(), 0.3, 1.0, seed=6))
