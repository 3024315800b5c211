"""Sign-concordant feedback: the error travels back through the signs of the weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit import replays
from biograd.credit.operations import Signed
from biograd.rules.base import ErrorWeights
from biograd.rules.feedback_rule import FeedbackRule
from biograd.rules.parts.feedback_weights import (
    Attention,
    Distribution,
    ExactNames,
    Seed,
    WeightTable,
    draw_beside,
    draw_like,
    spreads,
)
from biograd.rules.parts.random_stream import RandomStream, counts, seed_of
from biograd.searched import LogUniform
from biograd.settings import checked_settings


class UniformSignConcordant(FeedbackRule):
    r"""Uniform sign-concordant feedback (uSF), :math:`B = \mathrm{sign}(W)^\top s`.

    The magnitude s is the RMS of W when the rule is made, times ``scale``, and kept. Equals backpropagation
    when all weights of a layer have that magnitude. A weight of exactly zero counts as positive. References: Liao,
    Leibo & Poggio 2016; Moskovitz, Litwin-Kumar & Abbott 2018; Xiao, Chen, Liao & Poggio 2018.

    Args:
        net: any net; see `FeedbackRule`.
        sample: not needed.
        scale: magnitude of B in units of the RMS of W when the rule is made.
    """

    error_weights: ClassVar[ErrorWeights] = "signs"

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        scale: Annotated[float, Gt(0), LogUniform(0.1, 10.0)] = 1.0,
        exact: ExactNames = (),
        attention: Attention = "exact",
    ) -> None:
        del sample
        super().__init__(net, exact=exact, attention=attention)
        self.magnitude = _scales(net, self.weights(net), scale)

    def feedback(self, weights: Mapping[str, Tensor]) -> Mapping[str, Signed]:
        """The kept magnitude for the signs of each weight."""
        # B = sign(W)ᵀ s
        return {name: Signed(s) for name, s in self.magnitude.by_name().items()}


class FixedRandomSignConcordant(FeedbackRule):
    r"""Fixed random-magnitude sign-concordant feedback (frSF), :math:`B = (\mathrm{sign}(W) \circ |M|)^\top`.

    M is drawn once, as the layer's weights were: zero mean, at the RMS of W. Equals backpropagation when
    :math:`|M| = |W|`. References: Moskovitz, Litwin-Kumar & Abbott 2018; Sanfiz & Akrout 2021.

    Args:
        net: any net; see `FeedbackRule`.
        sample: not needed.
        scale: standard deviation of M in units of the RMS of W when the rule is made.
        distribution: what M is drawn from.
        seed: of M.

    Attributes:
        M: the magnitudes by parameter name, fixed.
    """

    error_weights: ClassVar[ErrorWeights] = "signs"

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        scale: Annotated[float, Gt(0), LogUniform(0.1, 10.0)] = 1.0,
        distribution: Distribution = "uniform",
        exact: ExactNames = (),
        attention: Attention = "exact",
        seed: Seed = 0,
    ) -> None:
        del sample
        super().__init__(net, exact=exact, attention=attention)
        drawn = draw_beside(net, self.weights(net), scale, distribution, RandomStream(seed))
        self.M = WeightTable({name: M.abs() for name, M in drawn.items()})

    def feedback(self, weights: Mapping[str, Tensor]) -> Mapping[str, Signed]:
        """The fixed magnitudes for the signs of each weight."""
        # B = (sign(W) ∘ |M|)ᵀ
        return {name: Signed(M) for name, M in self.M.by_name().items()}


class BatchwiseRandomSignConcordant(FeedbackRule):
    r"""Batchwise random-magnitude feedback (brSF), :math:`B = (\mathrm{sign}(W) \circ |M|)^\top`, M redrawn.

    As frSF, but M is drawn anew for every batch, at the RMS that W had when the rule was made. References:
    Liao, Leibo & Poggio 2016; Sanfiz & Akrout 2021.

    Args:
        net: any net; see `FeedbackRule`.
        sample: not needed.
        scale: standard deviation of M in units of the RMS of W when the rule is made.
        distribution: what M is drawn from; the uniform one is the cheaper.
        seed: of M; with the number of batches so far it determines each draw.
    """

    error_weights: ClassVar[ErrorWeights] = "signs"

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        scale: Annotated[float, Gt(0), LogUniform(0.1, 10.0)] = 1.0,
        distribution: Distribution = "uniform",
        exact: ExactNames = (),
        attention: Attention = "exact",
        seed: Seed = 0,
    ) -> None:
        del sample
        super().__init__(net, exact=exact, attention=attention)
        self._distribution: Distribution = distribution
        self._seed, self._batches = seed, 0
        self.spread = _scales(net, self.weights(net), scale)

    def feedback(self, weights: Mapping[str, Tensor]) -> Mapping[str, Callable[[], Tensor]]:
        """The signs of each weight with the magnitudes of this batch: of the last one that was learned from."""
        distribution: Distribution = self._distribution
        spreads = self.spread.by_name()
        generators = [
            replays.generator(weights[name].device, partial(self._seed_of, place))
            for place, name in enumerate(spreads)
        ]
        # B = (sign(W) ∘ |M|)ᵀ, M drawn where an error comes back
        return {
            name: lambda W=weights[name], spread=spread, draw=draw: torch.copysign(
                draw_like(W, spread, distribution, draw), W
            )
            for (name, spread), draw in zip(spreads.items(), generators, strict=True)
        }

    @contextmanager
    def alongside(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Every batch has magnitudes of its own."""
        replays.at_each_step(self._count)
        yield

    def _count(self) -> None:
        self._batches += 1

    def _seed_of(self, place: int) -> int:
        return seed_of(self._seed, self._batches, place)

    def get_extra_state(self) -> Tensor:
        """Seed and number of batches so far, ``(2,)`` int64."""
        return torch.tensor([self._seed, self._batches])

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from the state of `get_extra_state`."""
        self._seed, self._batches = counts(state, 2)


def _scales(net: nn.Module, weights: Mapping[str, Tensor], scale: float) -> WeightTable:
    """One number a weight: its RMS times ``scale``."""
    return WeightTable(
        {name: weights[name].new_tensor(scale * spread) for name, spread in spreads(net, weights).items()}
    )
