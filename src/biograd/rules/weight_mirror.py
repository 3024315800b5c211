"""Weight mirror: feedback weights learn to be the transpose of the weights from noise alone."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from biograd.credit import replays
from biograd.credit.feedback.taught_call import TaughtCall
from biograd.credit.operations import ColumnProduct, Linear, Operation, RowProduct
from biograd.rules.base import ErrorWeights
from biograd.rules.feedback_rule import FeedbackRule
from biograd.rules.parts.feedback_weights import (
    Attention,
    Distribution,
    ExactNames,
    Seed,
    WeightTable,
    draw_beside,
)
from biograd.rules.parts.random_stream import RandomStream, counts
from biograd.searched import LogUniform
from biograd.settings import checked_settings

Fraction = Annotated[float, Gt(0), Le(1)]


class WeightMirror(FeedbackRule):
    r"""Weight mirror, :math:`\delta_l = (B_{l+1} \delta_{l+1}) \circ \varphi'` with B learned from noise.

    In a mirror phase every layer receives zero-mean noise x of standard deviation σ in place of its input and gives
    y = W x (linear, without bias). Then

    .. math:: B \leftarrow (1 - \lambda_m) B + \eta_m \langle y x^\top \rangle

    (in W's shape; the mean runs over the batch, and over positions in convolutions). B tends to
    :math:`c W`, :math:`c = \eta_m \sigma^2 / \lambda_m`, up to an angle of about
    :math:`\arctan\sqrt{d_{in} \lambda_m / (2 \cdot batch)}`. So both rates shrink as :math:`1 / (1 + \lambda_m t)` over
    the phases t, down to the fraction ``anneal_to``, at which B still follows a W that learns. Equals backpropagation
    when B = W. Reference: Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019.

    Args:
        net: any net; see `FeedbackRule`.
        sample: not needed.
        mirror_rate: η_m of the first phase.
        mirror_decay: λ_m of the first phase.
        noise: σ.
        anneal_to: fraction of both rates that remains in the end; 1 keeps them.
        every: a mirror phase every so many steps, 1 interleaves one with each step.
        phases: how many mirror phases then follow one another.
        scale: standard deviation of B at the start in units of the RMS of W.
        distribution: what B is drawn from at the start.
        seed: of B at the start and of the noise.

    Attributes:
        B: the feedback weights by parameter name, changed in mirror phases alone.
    """

    error_weights: ClassVar[ErrorWeights] = "learned"
    forward_passes: ClassVar[int] = 2

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        mirror_rate: Annotated[float, Gt(0), LogUniform(0.005, 0.5)] = 0.05,
        mirror_decay: Annotated[Fraction, LogUniform(0.005, 0.5)] = 0.05,
        noise: Annotated[float, Gt(0)] = 1.0,
        anneal_to: Fraction = 0.02,
        every: Annotated[int, Gt(0)] = 1,
        phases: Annotated[int, Gt(0)] = 1,
        scale: Annotated[float, Gt(0)] = 1.0,
        distribution: Distribution = "uniform",
        exact: ExactNames = (),
        attention: Attention = "exact",
        seed: Seed = 0,
    ) -> None:
        del sample
        super().__init__(net, exact=exact, attention=attention)
        self._rates = (mirror_rate, mirror_decay, anneal_to)
        self._noise, self._every, self._phases = noise, every, phases
        self._steps = self._mirrored = 0
        self._calls = _Calls()
        self._stream = RandomStream(seed)
        self.B = WeightTable(draw_beside(net, self.weights(net), scale, distribution, self._stream))

    def feedback(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """B as it is now."""
        # δ_l = (B_{l+1} δ_{l+1}) ∘ φ'(a_l)
        return self.B.by_name()

    @contextmanager
    def alongside(self, weights: Mapping[str, Tensor]) -> Iterator["_Calls"]:
        """A mirror phase follows every ``every``-th batch."""
        replays.refuse("learns its feedback at rates that change from step to step")
        try:
            yield self._calls
            self._steps += 1
            if self._steps % self._every == 0:
                self._mirror(weights, self._calls.made)
        finally:
            self._calls.made.clear()

    def get_extra_state(self) -> Tensor:
        """Steps taken and mirror phases done, ``(2,)`` int64."""
        return torch.tensor([self._steps, self._mirrored])

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from the state of `get_extra_state`."""
        self._steps, self._mirrored = counts(state, 2)

    @torch.no_grad()
    def _mirror(self, weights: Mapping[str, Tensor], calls: list[TaughtCall]) -> None:
        """``phases`` mirror phases of every layer that was called, with as much noise as it had inputs."""
        B = self.B.by_name()
        for _ in range(self._phases):
            rate, decay = self._rates_now()
            generators = self._stream.take([weights[call.name].device for call in calls])
            for (name, operation, shape, _, form), generator in zip(calls, generators, strict=True):
                with torch.autocast(weights[name].device.type, enabled=False):
                    correlation = self._correlate(form.of(weights[name]), operation, shape, generator)
                # B ← (1 − λ) B + η ⟨y xᵀ⟩
                if form.steps:  # a part of B, or another form of it
                    change = rate * correlation - decay * form.of(B[name])
                    B[name].add_(form.back(change))
                else:
                    B[name].mul_(1 - decay).add_(correlation, alpha=rate)
            self._mirrored += 1

    def _rates_now(self) -> tuple[float, float]:
        rate, decay, anneal_to = self._rates
        # η_m and λ_m, times 1 / (1 + λ_m t)
        factor = max(anneal_to, 1 / (1 + decay * self._mirrored))
        return rate * factor, decay * factor

    def _correlate(
        self, weight: Tensor, operation: Operation, shape: torch.Size, generator: torch.Generator
    ) -> Tensor:
        """Mean of y xᵀ in the weight's shape: how each output correlates with the noise at each of its inputs."""
        # y = W x, x ~ N(0, σ²)
        x = torch.randn(shape, generator=generator, device=weight.device, dtype=weight.dtype).mul_(
            self._noise
        )
        y = operation.forward(x, weight, None)
        return _products(operation, y, x, weight) / self._pairs(weight, operation, shape, y)

    @staticmethod
    def _pairs(weight: Tensor, operation: Operation, shape: torch.Size, y: Tensor) -> Tensor | int:
        """How many pairs of input and output each weight joins: fewer at edges, and none with padding."""
        if isinstance(operation, Linear):
            return math.prod(shape[:-1])
        if isinstance(operation, RowProduct | ColumnProduct):
            return y.numel() * operation.fan_in // weight.numel()
        one = weight.new_ones((1, *shape[1:])) if len(shape) > 1 else weight.new_ones(shape)
        answer = torch.ones_like(operation.forward(one, weight, None))
        pairs = _products(operation, answer, one, weight) * (shape[0] if len(shape) > 1 else 1)
        return pairs.clamp_(min=1)


class _Calls:
    """The taught calls of a forward; one object for all, so that a compiled net is not compiled anew for each."""

    def __init__(self) -> None:
        self.made: list[TaughtCall] = []

    def __call__(self, call: TaughtCall) -> None:
        self.made.append(call)


def _products(operation: Operation, y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    products = operation.backward(y, x, weight, (False, True, False))[1]
    assert products is not None
    return products
