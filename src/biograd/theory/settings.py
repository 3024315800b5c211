"""How a two-layer simulation is set: the network, the algorithm with its units, and when it stops."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from biograd.errors import UserMistake, brief
from biograd.theory import activations
from biograd.theory.activations import Activation
from biograd.theory.schedules import SCHEDULES
from biograd.theory.stopping import Stopping, least_steps

METHODS, UNITS, PRECISIONS = ("fa", "bp"), ("published", "paper"), ("float32", "float64")


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    r"""A network, an algorithm, and several λ that share each trial's data and weights.

    Attributes:
        activation: ψ: ``linear``, ``relu``, ``tanh`` or ``sigmoid``.
        width: p, hidden neurons, ≥ 1.
        regularization: every λ ≥ 0, in ``units``, none twice.
        schedule: λ(t), see `biograd.theory.schedules.factor`.
        horizon: T of the schedule in steps, ≥ 1; only with ``cut-off`` and ``decay``. The least number of steps is
            counted from T, so that the error has time to go on where λ has gone.
        method: ``fa``, errors go back through the fixed b; ``bp``, through β, as it was in the forward pass.
        units: ``published``, those of the published runs: the loss is the mean squared error, and λβ is added to its
            gradient; ``paper``: the loss is half the sum of squares, η' = 2η/n and λ' = λn/2.
        learning_rate: η in ``units``; None for that of the published runs.
        examples: n ≥ 1.
        features: d ≥ 1.
        normalize: whether every x is scaled to length 1.
        seed: of all draws; trial k draws the same whatever the number of trials, and whatever λ.
        steps: how many steps each trial takes; None stops each by itself, by the rule of the published runs.
        max_steps: the cap of that rule; None for none, as published.
        precision: ``float32`` or ``float64``.

    Raises:
        UserMistake: a value out of its range, or two that do not go together.
    """

    activation: str
    width: int
    regularization: tuple[float, ...] = (0.0,)
    schedule: str = "constant"
    horizon: int | None = None
    method: str = "fa"
    units: str = "published"
    learning_rate: float | None = None
    examples: int = 50
    features: int = 150
    normalize: bool = False
    seed: int = 0
    steps: int | None = None
    max_steps: int | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        activations.find(self.activation)
        _refuse_unknown("schedule", self.schedule, SCHEDULES)
        _refuse_unknown("method", self.method, METHODS)
        _refuse_unknown("units", self.units, UNITS)
        _refuse_unknown("precision", self.precision, PRECISIONS)
        for name in ("width", "examples", "features", "horizon", "steps", "max_steps"):
            _refuse_below(name, getattr(self, name), 1)
        _refuse_below("seed", self.seed, 0)
        self._check_rates()
        self._check_times()

    def _check_rates(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise UserMistake(f"learning_rate must be a finite number > 0, got {self.learning_rate}")
        if not self.regularization or len(set(self.regularization)) < len(self.regularization):
            raise UserMistake(f"regularization must be some λ, none twice, got {list(self.regularization)}")
        for strength in self.regularization:
            if not 0 <= self.rate * strength < 1:  # β is multiplied by 1 - ηλ
                raise UserMistake(
                    f"regularization must be ≥ 0, and below 1/η = {1 / self.rate:g}, got {strength:g}"
                )

    def _check_times(self) -> None:
        if (self.horizon is None) != (self.schedule == "constant"):
            raise UserMistake(
                f"schedule {self.schedule!r} takes no horizon"
                if self.horizon
                else f"schedule {self.schedule!r} needs a horizon: its time T in steps"
            )
        if self.steps is not None and self.max_steps is not None:
            raise UserMistake("steps are taken without the stopping rule, which max_steps is the cap of")

    @property
    def nonlinearity(self) -> Activation:
        """ψ."""
        return activations.find(self.activation)

    @property
    def rate(self) -> float:
        """η in ``units``."""
        if self.learning_rate is not None:
            return self.learning_rate
        published = self.nonlinearity.learning_rate
        return published if self.units == "published" else 2 * published / self.examples

    @property
    def gradient_rate(self) -> float:
        """η in the paper's units: what the gradient of half the sum of squares is multiplied by."""
        return 2 * self.rate / self.examples if self.units == "published" else self.rate

    def kept(self, factor: float) -> list[float]:
        """What β is multiplied by in a step, for each λ: 1 - ηλ(t), the same in both units."""
        return [1 - self.rate * strength * factor for strength in self.regularization]

    def loss(self, mean_square: float) -> float:
        """The loss in ``units``, of the mean squared error."""
        return mean_square if self.units == "published" else mean_square * self.examples / 2

    @property
    def stopping(self) -> Stopping:
        """When a trial stops."""
        if self.steps is not None:
            return Stopping(self.steps, every=self.steps, most=self.steps)
        return Stopping(least_steps(self.width) + (self.horizon or 0), most=self.max_steps)

    def is_published(self, steps: int | None = None) -> bool:
        """Whether this is how the published runs were made, whatever the activation, p, λ and the seed.

        Args:
            steps: how many they are looked at after; None for where their rule stops them.
        """
        same = SimulationSettings(
            activation=self.activation,
            width=self.width,
            regularization=self.regularization,
            seed=self.seed,
            steps=steps,
            max_steps=self.max_steps if steps is None else None,
            precision=self.precision,
        )
        return self == same


def _refuse_unknown(what: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise UserMistake(f"unknown {what} {brief(given)}: choose one of {', '.join(known)}")


def _refuse_below(what: str, given: int | None, least: int) -> None:
    if given is not None and given < least:
        raise UserMistake(f"{what} must be at least {least}, got {given}")
