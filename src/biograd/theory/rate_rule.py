"""Spiking simulations beside the rate rule of ``stdp-association``: a synapse, a race, and both together."""

from typing import Any

import numpy as np

from biograd.errors import UserMistake
from biograd.records.theory import Fit, RaceRow, SpikeTiming, SynapseRow
from biograd.theory.spike_timing import (
    Example,
    changes,
    group_changes,
    input_spikes,
    output_spikes,
    race,
    sigmoid,
    softmax,
)

INPUTS = np.array([0.1, 0.3, 0.5, 0.7, 1.0])
"""h of the inputs."""
DRIVES = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
"""z of a neuron that is alone, one after the other."""
GROUP = np.array([-0.6, -0.3, 0.0, 0.3, 0.6, 0.9])
"""z of neurons that compete; none so weak that it hardly ever wins."""
BETA = 2.0
"""β of the race, the rule's default."""
TRIALS = 10_000
"""Of each condition by default."""
SHOWN = 12
"""Trials whose spikes are kept for the figure."""


def compare(trials: int = TRIALS, seed: int = 0) -> SpikeTiming:
    r"""Simulate, and put the rate rule beside the means.

    In units of :math:`\rho^2 g` (see `biograd.theory.spike_timing`) one synapse's mean is
    :math:`(r^* - \sigma(z)) h`, and in a group, times its size,
    :math:`n_g\, \mathrm{softmax}(\beta z)_j (r^* - \sigma(z_j)) h_i`.

    Args:
        trials: of each condition, at least 2.
        seed: of all that is drawn.

    Returns:
        The means, and the rule's numbers beside them.

    Raises:
        UserMistake: too few trials.
    """
    if trials < 2:
        raise UserMistake(f"trials must be at least 2, got {trials}: one has no spread")
    rng, example = np.random.default_rng(seed), Example()
    synapse, synapse_fit = _synapse(rng, example, trials)
    group, group_fit = _group(rng, example, trials)
    plus, minus = example.window.sides
    return {
        "trials": trials,
        "seed": seed,
        "beta": BETA,
        "half": example.half,
        "outlasts": example.outlasts,
        "rate": example.rate,
        "window": {"plus": list(plus), "minus": list(minus)},
        "synapse": synapse,
        "race": _race(rng, trials),
        "group": group,
        "fits": {"synapse": synapse_fit, "group": group_fit},
        "spikes": _spikes(rng, example),
    }


def _synapse(rng: np.random.Generator, example: Example, trials: int) -> tuple[list[SynapseRow], Fit]:
    """One neuron, by its drive and by what is asked of it."""
    conditions = [(z, taught) for taught in (0.0, 1.0) for z in DRIVES]
    simulated = [
        changes(rng, example, INPUTS, np.full(trials, sigmoid(z)), np.full(trials, taught)) / example.gain
        for z, taught in conditions
    ]
    rule = [(taught - sigmoid(z)) * INPUTS for z, taught in conditions]
    about = [{"z": z, "taught": taught, "h": h} for z, taught in conditions for h in INPUTS]
    return _beside(about, np.array(rule), np.stack(simulated, 1))


def _group(rng: np.random.Generator, example: Example, trials: int) -> tuple[list[SynapseRow], Fit]:
    """Neurons of which the first to spike silences the others, by what is asked of the group."""
    size, asked = len(GROUP), (0.0, 1.0)
    simulated = [
        size * group_changes(rng, example, INPUTS, GROUP, taught, BETA, trials) / example.gain
        for taught in asked
    ]
    weight = size * softmax(BETA * GROUP)
    rule = [np.outer(weight * (taught - sigmoid(GROUP)), INPUTS) for taught in asked]
    about = [{"z": z, "taught": taught, "h": h} for taught in asked for z in GROUP for h in INPUTS]
    return _beside(about, np.array(rule), np.stack(simulated, 1))


def _race(rng: np.random.Generator, trials: int) -> list[RaceRow]:
    """How often each neuron is the first."""
    first = race(rng, np.exp(BETA * GROUP), trials)
    is_first = (first[:, None] == np.arange(len(GROUP))).astype(float)
    rows, _ = _beside([{"z": z} for z in GROUP], softmax(BETA * GROUP), is_first)
    return rows


def _beside(about: list[dict[str, float]], rule: np.ndarray, simulated: np.ndarray) -> tuple[list[Any], Fit]:
    """Rows of the rule and of the simulation's means, and how well the two agree.

    Args:
        about: what each row is about.
        rule: what the equation gives, as many.
        simulated: ``(trials, …)``, in the rule's shape. Within a trial its entries need not be independent, so the
            slope is taken in each trial, and its standard error from their spread.
    """
    rule, simulated = rule.ravel(), simulated.reshape(len(simulated), -1)
    mean, error = simulated.mean(0), _standard_error(simulated)
    slopes = simulated @ rule / (rule @ rule)
    rows = [
        {key: float(value) for key, value in {**row, "rule": r, "mean": m, "standard_error": e}.items()}
        for row, r, m, e in zip(about, rule, mean, error, strict=True)
    ]
    fit: Fit = {
        "slope": float(slopes.mean()),
        "standard_error": float(_standard_error(slopes)),
        "correlation": float(np.corrcoef(rule, mean)[0, 1]),
        "largest": float(np.max(np.abs(mean - rule)[error > 0] / error[error > 0], initial=0.0)),
    }
    return rows, fit


def _standard_error(simulated: np.ndarray) -> np.ndarray:
    return simulated.std(0, ddof=1) / np.sqrt(len(simulated))


def _spikes(rng: np.random.Generator, example: Example) -> dict[str, list[list[float]]]:
    """While the example is shown: an input of activity 1, and a neuron of σ(z) = 0.3 alone and under two teachers."""
    trial, _, time = input_spikes(rng, example, np.ones(1), SHOWN)
    trains = {"input": [time[trial == one] for one in range(SHOWN)]}
    for name, taught in (("taught 1", 1.0), ("alone", 0.3), ("taught 0", 0.0)):
        trains[name] = list(output_spikes(rng, example, np.full(SHOWN, 0.3), np.full(SHOWN, taught)))
    return {
        name: [sorted(map(float, times[np.abs(times) < example.half])) for times in each]
        for name, each in trains.items()
    }
