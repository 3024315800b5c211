r"""Neurons that spike: pair-based STDP with a teaching current, and a race to the first spike.

An example is shown from -T to T. Input i fires meanwhile, as a Poisson process of rate :math:`\rho h_i`, and is
silent otherwise. The neuron fires as an independent Poisson process, of rate :math:`\rho f` until the teaching current
comes on at time 0, and of rate :math:`\rho r^*` from there on; its firing precedes and outlasts the example by m. Every
pair of an input's spike and the neuron's changes the synapse by the window :math:`K`, a function of the time between
them. So

.. math:: E[\Delta W_i] = \rho^2 h_i \big( g\, (r^* - f) + D\, T (r^* + f) + e_- f - e_+ r^* \big),

.. math:: g = \sum_\pm A_\pm \tau_\pm^2 (1 - e^{-T/\tau_\pm}), \qquad D = A_+ \tau_+ - A_- \tau_-, \qquad
          e_\pm = A_\pm \tau_\pm^2 (1 - e^{-2T/\tau_\pm}) e^{-m/\tau_\pm}.

The first term is the rate rule. The second is Hebb's and does not know the teacher; it vanishes where the window is
balanced, D = 0. The others come from where the firing itself begins and ends; they vanish where it outlasts the example
by many :math:`\tau`. With both gone there is no change without a teaching current, :math:`r^* = f`.

Times are in seconds, rates in spikes a second; activities :math:`h, f, r^*` are fractions of the rate :math:`\rho`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray | float
_PAIRS_AT_ONCE = 2_000_000  # 16 MB a temporary array


@dataclass(frozen=True)
class Window:
    r"""By how much a pair of spikes changes a synapse.

    .. math:: K(\Delta) = A_+ e^{-\Delta/\tau_+} \text{ for } \Delta > 0, \qquad
              -A_- e^{\Delta/\tau_-} \text{ for } \Delta \le 0, \qquad \Delta = t_{post} - t_{pre}

    The time constants are of the order that is measured (Bi & Poo 1998), the amplitudes such that the window is
    balanced.

    Attributes:
        a_plus: of the strengthening, > 0.
        a_minus: of the weakening, > 0.
        tau_plus: of the strengthening, seconds.
        tau_minus: of the weakening, seconds.
    """

    a_plus: float = 1.0
    a_minus: float = 0.5
    tau_plus: float = 0.017
    tau_minus: float = 0.034

    def __call__(self, lag: np.ndarray) -> np.ndarray:
        """The change by each pair, in the shape of the lags; zero for a pair infinitely far apart."""
        is_after = lag > 0
        amplitude = np.where(is_after, self.a_plus, -self.a_minus)
        return amplitude * np.exp(-np.abs(lag) / np.where(is_after, self.tau_plus, self.tau_minus))

    @property
    def sides(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Amplitude and time constant, of the strengthening and of the weakening."""
        return (self.a_plus, self.tau_plus), (self.a_minus, self.tau_minus)

    @property
    def imbalance(self) -> float:
        """D, the window's integral; zero for a balanced one."""
        return self.a_plus * self.tau_plus - self.a_minus * self.tau_minus


@dataclass(frozen=True)
class Example:
    """How an example is shown to spiking neurons.

    Attributes:
        half: T, seconds from its beginning to the teaching current, and from there to its end, > 0.
        outlasts: m, seconds by which the neuron's own firing precedes and outlasts it, ≥ 0.
        rate: ρ, the spikes a second that an activity of 1 stands for, > 0.
        window: of STDP.
    """

    half: float = 0.1
    outlasts: float = 0.4  # twelve times the larger time constant: e^-12 is left out
    rate: float = 100.0
    window: Window = field(default_factory=Window)

    @property
    def gain(self) -> float:
        """The change that a step of the neuron's activity from 0 to 1 brings by an input of activity 1: ρ² g."""
        return self.rate**2 * sum(a * tau**2 * -np.expm1(-self.half / tau) for a, tau in self.window.sides)

    def expected_change(self, h: Array, free: Array, taught: Array) -> np.ndarray:
        """The mean of `changes` by the equation; arguments and result broadcast."""
        begin_and_end = [
            a * tau**2 * -np.expm1(-2 * self.half / tau) * np.exp(-self.outlasts / tau)
            for a, tau in self.window.sides
        ]
        hebb = self.window.imbalance * self.half * (np.asarray(taught) + free)
        edges = begin_and_end[1] * np.asarray(free) - begin_and_end[0] * np.asarray(taught)
        return h * (self.gain * (np.asarray(taught) - free) + self.rate**2 * (hebb + edges))


def changes(
    rng: np.random.Generator, example: Example, h: np.ndarray, free: np.ndarray, taught: np.ndarray
) -> np.ndarray:
    """Simulate a neuron's inputs and its own spikes, and sum the window over all pairs.

    Args:
        rng: draws the spikes.
        example: how it is shown.
        h: activities of the inputs, ``(inputs,)``, ≥ 0.
        free: the neuron's activity without the teaching current in each trial, ``(trials,)``, ≥ 0.
        taught: with it, ``(trials,)``, ≥ 0.

    Returns:
        ΔW in units of the window, ``(trials, inputs)``.
    """
    trial, source, time = input_spikes(rng, example, h, len(free))
    post = output_spikes(rng, example, free, taught)
    total = np.zeros(len(free) * len(h))
    for part in _parts(len(time), max(1, post.shape[1])):
        pairs = example.window(
            post[trial[part]] - time[part, None]
        )  # (spikes of inputs, spikes of the neuron)
        total += np.bincount(trial[part] * len(h) + source[part], pairs.sum(1), len(total))
    return total.reshape(len(free), len(h))


def input_spikes(
    rng: np.random.Generator, example: Example, h: np.ndarray, trials: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The spikes of all inputs: the trial, the input and the time of each."""
    counts = rng.poisson(2 * example.half * example.rate * h, (trials, len(h)))
    places = np.repeat(np.arange(counts.size), counts.ravel())
    times = rng.uniform(-example.half, example.half, len(places))
    return *np.divmod(places, len(h)), times


def output_spikes(
    rng: np.random.Generator, example: Example, free: np.ndarray, taught: np.ndarray
) -> np.ndarray:
    """Times of the neuron's spikes, ``(trials, most spikes in a trial)``; -inf fills up the shorter trains."""
    sides, length = [], example.half + example.outlasts
    for side, activity in ((-1, free), (1, taught)):
        counts = rng.poisson(length * example.rate * activity)
        times = side * rng.uniform(0, length, (len(counts), int(counts.max(initial=0))))
        sides.append(np.where(np.arange(times.shape[1]) < counts[:, None], times, -np.inf))
    return np.concatenate(sides, axis=1)


def race(rng: np.random.Generator, rates: np.ndarray, trials: int) -> np.ndarray:
    """Who spikes first, ``(trials,)``: neuron j after a time drawn from the exponential law of its rate.

    The probability of being first is the rate over the sum of all; rates exp(β z) give the softmax of β z.
    """
    return rng.exponential(1 / rates, (trials, len(rates))).argmin(1)


def group_changes(
    rng: np.random.Generator,
    example: Example,
    h: np.ndarray,
    z: np.ndarray,
    taught: float,
    beta: float,
    trials: int,
) -> np.ndarray:
    r"""ΔW of a group of neurons of which in each trial the first to spike silences the others.

    The winner's activity is σ(z) and, under the teaching current, ``taught``. The others fire no spike that could make
    a pair. The mean over trials is :math:`\rho^2 g\, \mathrm{softmax}(\beta z)_j (r^* - \sigma(z_j)) h_i`.

    Args:
        rng: draws races and spikes.
        example: how it is shown.
        h: activities of the inputs, ``(inputs,)``, ≥ 0.
        z: drives of the group's neurons, ``(neurons,)``.
        taught: r*, what the teaching current asks of the group.
        beta: sharpness of the race.
        trials: how often.

    Returns:
        ``(trials, neurons, inputs)``.
    """
    first = race(rng, np.exp(beta * z), trials)
    result = np.zeros((trials, len(z), len(h)))
    result[np.arange(trials), first] = changes(rng, example, h, sigmoid(z)[first], np.full(trials, taught))
    return result


def sigmoid(z: np.ndarray) -> np.ndarray:
    """The logistic function σ."""
    return 1 / (1 + np.exp(-z))


def softmax(z: np.ndarray) -> np.ndarray:
    """exp(z) over its sum."""
    weight = np.exp(z - z.max())
    return weight / weight.sum()


def _parts(count: int, width: int) -> Iterator[slice]:
    """Slices of rows that together hold no more than a bounded number of pairs."""
    step = max(1, _PAIRS_AT_ONCE // width)
    return (slice(start, start + step) for start in range(0, count, step))
