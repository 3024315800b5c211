r"""Two-layer networks under feedback alignment, regularised or not: the simulations that theorems speak of.

Song, Xu & Lafferty 2021 (arXiv:2106.06044) study :math:`f(x) = \frac{1}{\sqrt p} \sum_r \beta_r \psi(w_r \cdot x)`
with the loss :math:`\tfrac12 \sum_i e_i^2`, :math:`e_i = f(x_i) - y_i`, and fixed random b in place of β on the way
back. Both updates come from the same forward pass:

.. math::

    \beta_r &\leftarrow (1 - \eta\lambda(t))\, \beta_r - \tfrac{\eta}{\sqrt p} \sum_i e_i\, \psi(w_r \cdot x_i) \\
    w_r &\leftarrow w_r - \tfrac{\eta}{\sqrt p} \sum_i e_i\, b_r\, \psi'(w_r \cdot x_i)\, x_i

λ = 0 is their Algorithm 1, the regularised one their Algorithm 2. With one hidden layer direct feedback alignment
through the same b is the same, so it has no simulation of its own.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from biograd.theory.batch import Batch
from biograd.theory.general import GeneralBatch
from biograd.theory.linear import LinearBatch
from biograd.theory.problem import Problem, draw
from biograd.theory.schedules import factor
from biograd.theory.settings import SimulationSettings

CURVES = ("loss", "cosine", "first_layer", "second_layer")
"""What is followed: the loss in the settings' units, cos∠(b, β), ‖W - W₀‖ and ‖β - β₀‖."""

_ENTRIES_AT_ONCE = 200_000
"""Of hidden layers in one chunk: enough to hide the cost of calls, few enough to stay in the cache."""


@dataclass
class Outcome:
    """How one trial ended under one λ.

    Attributes:
        trial: its number.
        regularization: λ.
        steps: how many it took.
        capped: whether the cap ended it, and not the stopping rule.
        diverged: whether its loss is no longer finite.
        loss: in the settings' units.
        cosine: of the angle between b and β.
        first_layer: ‖W - W₀‖.
        second_layer: ‖β - β₀‖.
        curves: ``steps`` and each of `CURVES` at these, to the trial's own end; empty when none were wanted.
    """

    trial: int
    regularization: float
    steps: int = 0
    capped: bool = False
    diverged: bool = False
    loss: float = 0.0
    cosine: float = 0.0
    first_layer: float = 0.0
    second_layer: float = 0.0
    curves: dict[str, list[float]] = field(default_factory=dict)


def simulate(
    settings: SimulationSettings,
    trials: Sequence[int],
    *,
    follow: int | None = None,
    chunk: int | None = None,
    tell: Callable[[int], object] = lambda done: None,
) -> list[Outcome]:
    """Simulate trials under every λ of the settings.

    Neither the chunks nor the other trials change a trial's numbers by more than rounding. PyTorch should have one
    thread: what is worth parallel work here is trials, in processes.

    Args:
        settings: how they are simulated.
        trials: their numbers, from which each draws its data and weights.
        follow: steps from point to point of the curves, None for no curves.
        chunk: how many trials go together; None for what is fastest.
        tell: is called with the number of trials done, after each chunk.

    Returns:
        An outcome a trial and λ, trial after trial, λ in the settings' order.
    """
    size = chunk or trials_at_once(settings)
    outcomes: list[Outcome] = []
    for start in range(0, len(trials), size):
        numbers = trials[start : start + size]
        outcomes += _Chunk(settings, numbers, follow).run()
        tell(start + len(numbers))
    return outcomes


def trials_at_once(settings: SimulationSettings) -> int:
    """How many trials go together."""
    slab = settings.examples * (settings.examples if _is_reducible(settings) else settings.width)
    return max(1, _ENTRIES_AT_ONCE // (slab * len(settings.regularization)))


def start(settings: SimulationSettings, problems: Sequence[Problem]) -> Batch:
    """The state of trials before their first step: the reduced one where there is one."""
    return (LinearBatch if _is_reducible(settings) else GeneralBatch)(settings, problems)


def _is_reducible(settings: SimulationSettings) -> bool:
    """Whether `LinearBatch` simulates it; through β the steps of U do not stay multiples of one vector."""
    return settings.activation == "linear" and settings.method == "fa"


class _Chunk:
    """A chunk of trials on its way; slabs leave the batch as they end."""

    def __init__(self, settings: SimulationSettings, trials: Sequence[int], follow: int | None) -> None:
        self.settings, self.follow = settings, follow
        self.batch = start(settings, [draw(settings, trial) for trial in trials])
        self.outcomes = [Outcome(trial, strength) for trial in trials for strength in settings.regularization]
        self.running = list(self.outcomes)
        self.factor, self.rates = factor(settings.schedule, settings.horizon), self._rates(len(trials))
        self.step, self.kept_factor, self.kept = 0, None, self.rates
        self.before: Tensor | None = None
        self.settled = torch.zeros(len(self.running), dtype=torch.bool)

    def _rates(self, trials: int) -> Tensor:
        """ηλ of each slab, in the batch's precision."""
        rates = [self.settings.rate * strength for strength in self.settings.regularization]
        return self.batch.y.new_tensor(rates * trials)

    def run(self) -> list[Outcome]:
        """To the end of all."""
        for time in self.settings.stopping.times():
            for point in self._points(time):
                self._advance(point)
                self._follow()
            self._advance(time)
            self._stop_some()
            if not self.running:
                break
        return self.outcomes

    def _points(self, end: int) -> Iterator[int]:
        """The points of the curves up to a time; the first of all is before the first step."""
        if self.follow:
            first = self.step // self.follow + (self.step > 0)
            yield from range(first * self.follow, end + 1, self.follow)

    def _advance(self, to: int) -> None:
        for step in range(self.step, to):
            now = self.factor(step)
            if now != self.kept_factor:
                self.kept_factor, self.kept = now, 1 - now * self.rates
            self.batch.step(self.kept)
        self.step = to

    def _follow(self) -> None:
        """A point on every curve."""
        measured = self.batch.measure()
        for place, outcome in enumerate(self.running):
            self._note(outcome, {name: values[place].item() for name, values in measured.items()})

    def _note(self, outcome: Outcome, measured: Mapping[str, float]) -> None:
        row = dict(measured)
        point = {"steps": self.step, "loss": self.settings.loss(row.pop("mean_square")), **row}
        for name, value in point.items():
            outcome.curves.setdefault(name, []).append(value)

    def _stop_some(self) -> None:
        """Let those go that may stop here, those that diverged, and at the cap all."""
        stopping, measured = self.settings.stopping, self.batch.measure()
        now = measured["mean_square"]
        if stopping.is_look(self.step):
            self.settled, self.before = stopping.settled(self.before, now), now
        may, diverged = self.settled & (self.step >= stopping.least), ~now.isfinite()
        ends = may | diverged | (self.step == stopping.most)
        for place in ends.nonzero()[:, 0].tolist():
            row = {name: values[place].item() for name, values in measured.items()}
            self._end(self.running[place], row, capped=not (may | diverged)[place])
        if ends.any():
            self._go_on_with((~ends).nonzero()[:, 0])

    def _end(self, outcome: Outcome, measured: Mapping[str, float], *, capped: bool) -> None:
        """Write down how it ended."""
        if self.follow and self.step % self.follow:
            self._note(outcome, measured)
        row = dict(measured)
        mean_square = row.pop("mean_square")
        outcome.steps, outcome.loss = self.step, self.settings.loss(mean_square)
        outcome.capped = capped and self.settings.steps is None
        outcome.diverged = not math.isfinite(mean_square)
        for name, value in row.items():
            setattr(outcome, name, value)

    def _go_on_with(self, which: Tensor) -> None:
        self.running = [self.running[place] for place in which.tolist()]
        self.rates, self.settled, self.kept_factor = self.rates[which], self.settled[which], None
        self.before = None if self.before is None else self.before[which]
        if self.running:
            self.batch.keep(which)
