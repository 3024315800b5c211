"""Rows of the two-layer simulations and of the spiking ones: records of cells, and what figures show of them."""

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Le, Lt, MinLen, Predicate
from typing_extensions import TypedDict

from biograd.records.rows import Environment
from biograd.records.schema import LARGEST, Count, Json, Number, Positive, Share, Time, row

Curve = list[Annotated[float, Ge(-LARGEST), Le(LARGEST)]]
"""What can be drawn on a linear scale."""
PositiveCurve = list[Positive]
Points = list[Count]
Width = Annotated[int, Ge(1), Lt(2**63)]
"""Hidden neurons."""


def _a_point_of_each_curve_at_each_of_its_steps(row: Mapping[str, Any]) -> bool:
    return all(len(curve) == len(row["steps"]) for curve in row.values() if isinstance(curve, list))


def _a_mean(rows: "list[AlignmentRow]") -> bool:
    return any(row["cosine_mean"] is not None for row in rows)


def _steps(rows: "list[ConvergenceRow]") -> bool:
    return any(row["steps"] for row in rows)


@row
class Curves(TypedDict):
    """What was followed of a trial, at each of ``steps``."""

    steps: Points
    loss: list[Number | None]
    cosine: list[Number | None]
    first_layer: list[Number | None]
    second_layer: list[Number | None]


@row
class TrialOutcome(TypedDict):
    """How one trial ended under one λ; see `biograd.theory.two_layer.Outcome`. What is not finite is None."""

    trial: Count
    regularization: Number
    steps: Count
    capped: bool
    diverged: bool
    loss: Number | None
    cosine: Number | None
    first_layer: Number | None
    second_layer: Number | None
    curves: Annotated[Curves, Predicate(_a_point_of_each_curve_at_each_of_its_steps)]


@row
class SimulationRecord(TypedDict):
    """A two-layer simulation: what its file holds."""

    config: Json
    environment: Environment
    seconds: Time
    outcomes: list[TrialOutcome]


@row
class AlignmentRow(TypedDict):
    """A cell's trials under one λ, beside the published; None where there is no number."""

    activation: str
    width: Width
    regularization: Number
    method: str
    units: str
    trials: Count
    cosine_mean: Number | None
    """Of the trials that did not diverge, when they stopped, as are loss and steps."""
    cosine_sd: Number | None
    loss_mean: Number | None
    loss_sd: Number | None
    steps: Number | None
    """The mean."""
    capped: Count
    diverged: Count
    published_mean: Number | None
    published_sd: Number | None
    published_loss: Number | None
    deviations: Number | None
    """By how many published standard deviations the means differ."""
    predicted: Number | None
    """n/p, where the network is linear and λ is 0."""
    standard_error: Number | None


@row
class Prediction(TypedDict):
    """What the kernels of the start say of a cell's trials, beside what these did; None where λ is not 0."""

    linearised: list[Number] | None
    """The loss of the linearised recursion, the geometric mean."""
    predicted_slope: Number | None
    """The mean of 2ηλ_min(G(0))."""
    slope_ratio: Number | None
    """The late slope of the logarithm of the loss, over the predicted; None with no two points so late."""
    slope_ratio_sd: Number | None
    recursion_ratio: Number | None
    """The recursion's own."""
    decades_apart: Number | None
    """The largest distance of a trial's loss from its recursion, in powers of ten, mean over trials."""


@row
class ConvergenceRow(Prediction):
    """A cell's trials under one λ by steps; its curves are over those that did not diverge, and empty if all did."""

    regularization: Number
    trials: Count
    diverged: Count
    steps: Points
    loss: PositiveCurve
    """The geometric mean."""
    loss_low: PositiveCurve
    loss_high: PositiveCurve
    """One standard deviation of the logarithm from the mean."""
    cosine: Curve
    cosine_sd: Curve | None
    first_layer: Curve
    second_layer: Curve


@row
class KernelRow(TypedDict):
    """Both kernels at the start, of networks of one width."""

    width: Width
    first_layer_mean: Annotated[float, Ge(0)]
    """‖H(0)‖."""
    first_layer_sd: Number | None
    slowest_mean: Number
    """λ_min(G(0))."""
    slowest_sd: Number | None


@row
class NetworkConfig(TypedDict):
    """What captions say of the networks."""

    activation: str
    normalize: bool
    trials: Count


@row
class ConvergenceConfig(NetworkConfig):
    """What the figure of convergence says of the networks."""

    width: Count
    schedule: str
    horizon: Count | None
    method: str


@row
class AlignmentFigure(TypedDict):
    """``alignment-by-width.json``."""

    rows: Annotated[list[AlignmentRow], Predicate(_a_mean)]
    config: Json
    environment: Environment
    seconds: NotRequired[Time]


@row
class ConvergenceFigure(TypedDict):
    """``convergence.json``."""

    rows: Annotated[
        list[Annotated[ConvergenceRow, Predicate(_a_point_of_each_curve_at_each_of_its_steps)]],
        Predicate(_steps),
    ]
    config: ConvergenceConfig
    environment: Environment


@row
class KernelMeasurement(TypedDict):
    """Both kernels at several widths, and the power of the width by which ‖H(0)‖ falls."""

    rows: Annotated[list[KernelRow], MinLen(1)]
    exponent: Number
    standard_error: Number | None


@row
class KernelFigure(KernelMeasurement):
    """``kernel-norms.json``."""

    config: NetworkConfig
    environment: Environment


@row
class RaceRow(TypedDict):
    """How often a neuron is the first of its group, simulated beside the rule's softmax."""

    z: Number
    """The neuron's drive."""
    rule: Number
    mean: Number
    standard_error: Number


@row
class SynapseRow(RaceRow):
    """The mean change of a synapse, simulated beside the rule's."""

    taught: Share
    """What is asked of the neuron, or of its group."""
    h: Share
    """Activity of the input."""


@row
class Fit(TypedDict):
    """How simulated means lie to the rule."""

    slope: Number
    standard_error: Number
    correlation: Number
    largest: Number
    """The largest distance, in standard errors."""


@row
class Fits(TypedDict):
    """Of a neuron that is alone, and of one in a group."""

    synapse: Fit
    group: Fit


@row
class Window(TypedDict):
    """The STDP window: amplitude and time constant of either side."""

    plus: list[Number]
    minus: list[Number]


@row
class SpikeTiming(TypedDict):
    """What the spiking simulations gave."""

    trials: Count
    """Of each condition."""
    seed: Count
    beta: Number
    half: Time
    outlasts: Time
    rate: Number
    window: Window
    synapse: list[SynapseRow]
    race: list[RaceRow]
    group: list[SynapseRow]
    fits: Fits
    spikes: dict[str, list[Curve]]
    """Times of spikes of some trials, by what was asked of the neuron."""


@row
class SpikeTimingRecord(SpikeTiming):
    """``spike-timing.json``."""

    environment: Environment
    figure: NotRequired[str]
