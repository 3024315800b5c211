"""What numbers over seeds and tasks say of rules: spreads, paired differences with intervals, and corrections for many.

Values that are None or not finite are of runs that have none, and are left out: where a rule diverged on some seeds,
its numbers speak of the others, and their count says so. Intervals are bootstrapped by SciPy, and a function of a seed.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

Value = float | None
BySeed = Mapping[int, Value]
"""A quantity of a rule, by the seed of the run."""

ByTask = Mapping[str, Sequence[Value]]
"""A quantity of the runs of a rule, by task: better where it is larger, on one scale over tasks."""

DRAWS = 10_000
"""Resamples of a bootstrap."""


class Spread(NamedTuple):
    """A quantity over seeds.

    Attributes:
        mean: None when no run has the value.
        sd: the sample standard deviation (n − 1), None below two seeds.
        n: number of seeds.
    """

    mean: Value
    sd: Value
    n: int


class Estimate(NamedTuple):
    """A number with its interval.

    Attributes:
        value: None where nothing was measured.
        low: the lower end, None where there are too few runs for an interval.
        high: the upper end.
        n: of how many runs, pairs or tasks it is; the function says which.
    """

    value: Value
    low: Value
    high: Value
    n: int


class Comparison(NamedTuple):
    """A rule beside a reference, one of several.

    Attributes:
        difference: the rule less the reference, with an interval that holds for all comparisons at once.
        p_value: of the hypothesis that the sign of a difference is chance, corrected for all comparisons; None
            where no pair was measured.
    """

    difference: Estimate
    p_value: Value


def spread(values: Iterable[Value]) -> Spread:
    """Mean and sample standard deviation.

    Example:
        >>> spread([1.0, 3.0, 5.0])
        Spread(mean=3.0, sd=2.0, n=3)
        >>> spread([0.5, None])
        Spread(mean=0.5, sd=None, n=1)
    """
    values = measured(values)
    if not values:
        return Spread(None, None, 0)
    return Spread(
        statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values)
    )


def measured(values: Iterable[Value]) -> list[float]:
    """The values that are numbers."""
    return [value for value in values if value is not None and math.isfinite(value)]


def differences(ours: BySeed, theirs: BySeed) -> dict[int, float]:
    """Ours less theirs, for every seed of which both have a number.

    Example:
        >>> differences({0: 0.75, 1: 0.5, 2: None}, {0: 0.5, 2: 0.5, 3: 0.5})
        {0: 0.25}
    """
    paired = {seed: (ours[seed], theirs[seed]) for seed in sorted(set(ours) & set(theirs))}
    return {seed: a - b for seed, (a, b) in paired.items() if len(measured((a, b))) == 2}  # pyright: ignore


def paired_difference(
    ours: BySeed, theirs: BySeed, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Mean of ours less theirs over shared seeds, of which there are n, with its interval; see `mean_interval`.

    Runs of a seed share initial weights and batches, so that what these do to both drops out of their difference.
    """
    return mean_interval(differences(ours, theirs).values(), level=level, draws=draws, seed=seed)


def mean_interval(
    values: Iterable[Value], *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    r"""The mean of n values with the expanded percentile interval of its bootstrap (Hesterberg 2015).

    A plain percentile interval is too narrow by about :math:`\sqrt{(n-1)/n}\,z/t_{n-1}`; the tails are taken at

    .. math:: \alpha' = \Phi\bigl(-\sqrt{n/(n-1)}\; t_{(1 + \text{level})/2,\,n-1}\bigr)

    instead, so that the interval of normal values is as wide as Student's. It never leaves the range of the values:
    with fewer than six of them that range covers their median with a probability of :math:`1 - 2^{1-n}` alone, 75 % of
    the time with three values, 94 % with five, whatever the level.
    """
    values = measured(values)
    tail = _expanded_tail(level, len(values)) if len(values) > 1 else 0.0
    return _estimate(_mean, [values], len(values), 1 - 2 * tail, draws, seed)


def interquartile_mean(scores: ByTask, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """The mean of the middle half of all n scores, which no single failed task can move (Agarwal et al. 2021).

    Its interval is bootstrapped task by task; a task with a single run has no spread, and the mean then no interval.
    """
    tasks = [values for task in scores.values() if (values := measured(task))]
    return _estimate(_middle, tasks, sum(map(len, tasks)), level, draws, seed)


def difference_of_middles(
    ours: Iterable[Value], theirs: Iterable[Value], *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """The mean of the middle half of our values less that of theirs; n is the smaller count.

    Its interval is bootstrapped on both sides, which are not paired.
    """
    sides = [measured(ours), measured(theirs)]
    return _estimate(_apart, sides, min(map(len, sides)), level, draws, seed)


def probability_of_improvement(
    ours: ByTask, theirs: ByTask, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """How likely a run of ours is better than one of theirs, mean over the n tasks that both have; ties count half.

    It is Mann and Whitney's U over its largest value, averaged over tasks as in Agarwal et al. 2021. Its interval is
    bootstrapped task by task and rule by rule.
    """
    both = [(measured(ours[task]), measured(theirs[task])) for task in ours if task in theirs]
    runs = [values for pair in both if all(pair) for values in pair]
    return _estimate(_improvement, runs, len(runs) // 2, level, draws, seed)


def performance_profile(
    scores: ByTask, thresholds: Iterable[float], *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> list[Estimate]:
    """For each threshold the share of runs above it, mean over the n tasks, with a pointwise interval.

    A run without a number stays below every threshold: a curve is of all runs (Dolan & Moré 2002, Agarwal et al. 2021).
    """
    tasks = [[_or_lowest(one) for one in task] for task in scores.values() if task]
    return [_estimate(_Above(threshold), tasks, len(tasks), level, draws, seed) for threshold in thresholds]


def _or_lowest(value: Value) -> float:
    return value if value is not None and math.isfinite(value) else -math.inf


def sign_flip_p_value(differences: Iterable[Value], *, draws: int = DRAWS, seed: int = 0) -> Value:
    """The probability of a mean at least as far from zero, were the sign of each paired difference chance.

    It is exact where all signs can be tried, up to 13 pairs; n pairs cannot go below :math:`2^{1-n}`, three not below a
    quarter. None without pairs.
    """
    import numpy as np
    from scipy.stats import permutation_test

    values = measured(differences)
    if len(values) < 2:
        return 1.0 if values else None
    generator = np.random.default_rng(seed)
    result = permutation_test(
        (values,), _mean, permutation_type="samples", vectorized=True, n_resamples=draws, rng=generator
    )
    return float(result.pvalue)


def holm(p_values: Mapping[str, Value]) -> dict[str, Value]:
    """P-values corrected for how many there are (Holm 1979): below α none of the hypotheses is rejected by chance.

    Those that are None were not tested and stay so.

    Example:
        >>> holm({"fa": 0.01, "dfa": 0.04, "drtp": 0.03, "kp": None})
        {'fa': 0.03, 'dfa': 0.06, 'drtp': 0.06, 'kp': None}
    """
    tested = sorted((p, name) for name, p in p_values.items() if p is not None)
    corrected: dict[str, Value] = dict.fromkeys(p_values)
    largest = 0.0
    for place, (p, name) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - place) * p))
        corrected[name] = largest
    return corrected


def beside(
    reference: BySeed,
    others: Mapping[str, BySeed],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Comparison]:
    r"""Every rule beside the reference, seed by seed, corrected for how many there are.

    Intervals are Bonferroni's, each at :math:`1 - (1 - \text{level})/m` of m comparisons, so that all of them hold
    together at the level; p-values are Holm's of the `sign_flip_p_value`.
    """
    pairs = {name: differences(values, reference) for name, values in others.items()}
    made = sum(bool(paired) for paired in pairs.values())
    each = 1 - (1 - level) / max(1, made)
    p_values = holm(
        {name: sign_flip_p_value(paired.values(), draws=draws, seed=seed) for name, paired in pairs.items()}
    )
    return {
        name: Comparison(mean_interval(paired.values(), level=each, draws=draws, seed=seed), p_values[name])
        for name, paired in pairs.items()
    }


Statistic = Callable[..., Any]
"""Of samples ``(…, n)``, and the axis along which each lies, the last."""


def _estimate(
    statistic: Statistic, samples: Sequence[Sequence[float]], n: int, level: float, draws: int, seed: int
) -> Estimate:
    """A statistic of samples that are resampled one by one; without an interval where one of them cannot be."""
    import numpy as np
    from scipy.stats import bootstrap

    if not samples or not all(samples):
        return Estimate(None, None, None, 0)
    data = [np.asarray(sample, dtype=float) for sample in samples]
    value = float(statistic(*data, axis=-1))
    if min(map(len, data)) < 2:
        return Estimate(value, None, None, n)
    interval = bootstrap(
        data,
        statistic,
        vectorized=True,
        method="percentile",
        confidence_level=level,
        n_resamples=draws,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), n)


def _expanded_tail(level: float, n: int) -> float:
    from scipy.stats import norm, t

    return float(norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf((1 + level) / 2, n - 1)))


def _mean(sample: "np.ndarray", axis: int) -> "np.ndarray":
    return sample.mean(axis)


def _middle(*tasks: "np.ndarray", axis: int) -> "np.ndarray":
    import numpy as np
    from scipy.stats import trim_mean

    return trim_mean(np.concatenate(tasks, axis), 0.25, axis=axis)


def _apart(ours: "np.ndarray", theirs: "np.ndarray", axis: int) -> "np.ndarray":
    return _middle(ours, axis=axis) - _middle(theirs, axis=axis)


def _improvement(*runs: "np.ndarray", axis: int) -> "np.ndarray":
    """Of ours and theirs in turn, task by task."""
    import numpy as np

    shares = [_share_of_wins(ours, theirs) for ours, theirs in zip(runs[::2], runs[1::2], strict=True)]
    return np.mean(shares, axis=0)


def _share_of_wins(ours: "np.ndarray", theirs: "np.ndarray") -> "np.ndarray":
    gap = ours[..., :, None] - theirs[..., None, :]  # (…, ours, theirs)
    return (gap > 0).mean((-2, -1)) + (gap == 0).mean((-2, -1)) / 2


class _Above(NamedTuple):
    """The mean over tasks of the share of runs above a threshold."""

    threshold: float

    def __call__(self, *tasks: "np.ndarray", axis: int) -> "np.ndarray":
        import numpy as np

        return np.mean([(task > self.threshold).mean(axis) for task in tasks], axis=0)
