"""The figure of the spiking simulation: spikes, the STDP window, the race, and the mean change beside the rule."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biograd.records.theory import RaceRow, SpikeTiming, Window
from biograd.report.drawing import WIDTH, Drawing, draw
from biograd.report.palette import BLUE, INK, ORANGE, QUIET

_TRAINS = {"input": QUIET, "taught 1": BLUE, "alone": INK, "taught 0": ORANGE}


def spike_timing(measured: SpikeTiming) -> Drawing:
    """Four panels: spikes under the teaching current and without, the window, the race, and the mean change.

    Args:
        measured: what `biograd.theory.rate_rule.compare` gave.
    """

    def paint(figure: Figure) -> None:
        (spikes, window), (race, change) = figure.subplots(2, 2)
        _raster(spikes, measured["spikes"], 1000 * measured["half"])
        _window(window, measured["window"])
        _race(race, measured["race"], measured["beta"])
        _change(change, measured)

    caption = (
        "An input, and a neuron that would fire at 0.3 of its highest rate, alone and under a teaching current that "
        "comes on at 0. The window by which each pair of their spikes changes the synapse. How often each neuron of a "
        "group is the first to spike, beside the softmax. The mean change of synapses over "
        f"{measured['trials']} trials a point beside what the rule stdp-association says, bars of one standard error."
    )
    return draw("spike-timing", "From spikes to stdp-association", caption, (WIDTH, 5.6), paint)


def _raster(axes: Axes, trains: Mapping[str, Sequence[Sequence[float]]], half: float) -> None:
    """A row a trial, below each other by what was asked of the neuron."""
    top, places = 0, []
    for name, color in _TRAINS.items():
        for row, times in enumerate(trains[name]):
            axes.vlines([1000 * t for t in times], top - row - 0.85, top - row, color=color, linewidth=1.0)
        places.append(top - len(trains[name]) / 2)
        top -= len(trains[name]) + 2
    axes.axvline(0, color=QUIET, linestyle="--", linewidth=1.0)
    axes.set_xlim(-half, half)
    axes.set_yticks(places, list(_TRAINS))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.set_xlabel("milliseconds from the teaching current")
    axes.set_title("spikes, trial by trial")


def _window(axes: Axes, window: Window) -> None:
    for side, sign, color in (("plus", 1, BLUE), ("minus", -1, ORANGE)):
        amplitude, tau = window[side]
        lag = np.linspace(0, 0.1, 200)
        change = sign * amplitude * np.exp(-lag / tau)
        axes.plot(1000 * sign * lag, change, color=color, linewidth=1.4)
        axes.fill_between(1000 * sign * lag, change, color=color, alpha=0.15, linewidth=0)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.set_xlabel("milliseconds from the input's spike to the neuron's")
    axes.set_title("STDP window: change by a pair")


def _race(axes: Axes, rows: Sequence[RaceRow], beta: float) -> None:
    places = range(len(rows))
    axes.bar(places, [row["mean"] for row in rows], color=BLUE, alpha=0.35, width=0.7, label="simulated")
    axes.errorbar(
        places,
        [row["mean"] for row in rows],
        [row["standard_error"] for row in rows],
        fmt="none",
        ecolor=BLUE,
        elinewidth=1.2,
    )
    axes.plot(
        places,
        [row["rule"] for row in rows],
        color=INK,
        marker="_",
        markersize=16,
        linestyle="none",
        label=f"softmax, β = {beta:g}",
    )
    axes.set_xticks(places, [f"{row['z']:g}" for row in rows])
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("drive z of the neuron")
    axes.set_title("probability to spike first in a group")
    axes.legend(loc="upper left")


def _change(axes: Axes, measured: SpikeTiming) -> None:
    looks = {"synapse": (ORANGE, "o", "alone"), "group": (BLUE, "^", "in a group")}
    for what, (color, marker, name) in looks.items():
        rows, fit = measured[what], measured["fits"][what]
        axes.errorbar(
            [row["rule"] for row in rows],
            [row["mean"] for row in rows],
            [row["standard_error"] for row in rows],
            color=color,
            marker=marker,
            markersize=3.5,
            markeredgewidth=0,
            linestyle="none",
            elinewidth=0.8,
            label=f"{name}: {fit['slope']:.3f} ± {fit['standard_error']:.3f}",
        )
    axes.axline((0, 0), slope=1, color=QUIET, linestyle="--", linewidth=1.0)
    axes.set_xlabel("the rule")
    axes.set_title("mean change, simulated")
    axes.legend(loc="upper left", title="slope, a neuron", alignment="left")
