"""GAIT-prop: incremental targets, adjusted by the gradient so that orthogonal nets learn as by backpropagation."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.back.own_inverses import require_use_of
from biograd.credit.chain.blocks import Block, require_nothing_learns_before
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson, through_every_block
from biograd.credit.wrappers import unwrap
from biograd.rules.base import ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.examples import CHAINS, Examples
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.feedback_weights import ExactNames, Seed
from biograd.rules.parts.inverse_strategies import Columns, Exact, InverseStrategy, Kept, Learned
from biograd.rules.parts.inverses import Inverses
from biograd.rules.parts.inverses_inside import (
    InversesInside,
    places_without_one_layer,
    refuse_exact_names,
)
from biograd.rules.parts.random_stream import RandomStream
from biograd.rules.parts.target_chain import MARGIN, Margin, SmallSteps, TargetChain, Undo, refuse_inverse
from biograd.settings import Strategy, checked_settings


class _Asked(NamedTuple):
    """What a user asks of the way back, and what it is made from; see `GaitProp`."""

    inverse: InverseStrategy | None
    exact: Sequence[str]
    undo: str | None
    sample: Any
    stream: RandomStream


@dataclass(frozen=True, kw_only=True)
class Linearised(Strategy):
    r"""The limit γ → 0, :math:`e_{l-1} = (e_l D_l) W_l^{-1}`: backpropagation with the inverse for the transpose.

    Takes any nonlinearity, any precision, and blocks of several weights, each of which has its inverse; see
    `biograd.rules.parts.inverses_inside.InversesInside`.

    Args:
        columns: which outputs of a layer count. With ``used``, those that `biograd.layers.FirstUnits` leaves behind do
            not, and layers may have any widths (pseudo-inverse). With ``all``, every one does, and every layer but the
            first is square, as in the papers.
    """

    name: ClassVar[str] = "linearised"
    columns: Columns = "used"

    def way_back(self, chain: list[Block], asked: _Asked) -> Inverses:
        """The inverse of each block that is one layer, and of each weight inside others."""
        inverse, exact, undo, sample, stream = asked
        require_use_of(undo, chain)
        whole, strategy = places_without_one_layer(chain, undo), inverse or Kept()
        if not whole:
            refuse_exact_names(exact)
            return Inverses(chain, strategy, self.columns, stream, undo)
        inside = InversesInside(chain, whole, strategy, self.columns, exact, sample, stream)
        return Inverses(chain, strategy, self.columns, stream, undo, inside)

    def signals(self, inverses: Inverses, lesson: Lesson) -> Iterator[Tensor]:
        """The e of every hidden block, from the last down, over B as the loss is a mean over B examples."""
        inverses.look(lesson)
        # e_L = g / B
        e = lesson.error
        for place in reversed(range(1, len(lesson.chain))):
            # e_{l−1} = (e_l D_l) W_l⁻¹; autograd supplies D_l, pooling and normalisation included
            e = inverses.send(place, lesson, lesson.drive_signal(place, e))
            yield e


class _Targets(Strategy):
    """A form with targets, which needs square layers but the first, an invertible nonlinearity and float64."""

    shrinks: ClassVar[bool]
    """See `biograd.rules.parts.target_chain.SmallSteps`."""

    gamma: float
    margin: float

    def way_back(self, chain: list[Block], asked: _Asked) -> TargetChain:
        """The blocks, to be inverted one after another."""
        refuse_exact_names(asked.exact)
        refuse_inverse(asked.inverse, self.name)
        steps = SmallSteps(f"gait-prop with form={self.name!r}", self.gamma, self.shrinks)
        return TargetChain(chain, self.margin, steps, asked.undo)

    def signals(self, chain: TargetChain, lesson: Lesson) -> Iterator[Tensor]:
        """The signal of every hidden block, from the last down, :math:`2 m_l (y_l - t_l) / B`."""
        return chain.signals(lesson, self.step)

    @abstractmethod
    def step(self, y: Tensor, t: Tensor, derivative: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """See `biograd.rules.parts.target_chain.Step`."""


@dataclass(frozen=True, kw_only=True)
class Constant(_Targets):
    """Targets with a constant γ (Ahmad, van Gerven & Ambrogioni 2020).

    A step is γ of the one above it. Float64 tells those of five blocks at γ = 1e-3, of seven at 1e-2; more are refused.

    Args:
        gamma: γ.
        margin: targets of tanh are cut to ±(1 − margin).
    """

    name: ClassVar[str] = "constant"
    shrinks: ClassVar[bool] = True
    gamma: Annotated[float, Gt(0)] = 1e-3
    margin: Margin = MARGIN

    def step(self, y: Tensor, t: Tensor, derivative: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """``y + γ D² (t − y)`` and ``m / γ``."""
        return _adjusted(y, t, derivative, m, torch.full_like(m, self.gamma))


@dataclass(frozen=True, kw_only=True)
class Adaptive(_Targets):
    r"""Targets with :math:`\gamma_l = \gamma \sqrt{d_l} / \|t_l - y_l\|` for every example, d units in the layer.

    After Dalm et al. 2021, 2023.

    Args:
        gamma: γ.
        margin: targets of tanh are cut to ±(1 − margin).
    """

    name: ClassVar[str] = "adaptive"
    shrinks: ClassVar[bool] = False
    gamma: Annotated[float, Gt(0)] = 1e-7
    margin: Margin = MARGIN

    def step(self, y: Tensor, t: Tensor, derivative: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """``y + γ_l D² (t − y)`` and ``m / γ_l``; no step where there is no error."""
        # γ_l = γ √d_l / ‖t_l − y_l‖
        length = torch.linalg.vector_norm((t - y).flatten(1), dim=1).view_as(m)
        gamma = torch.full_like(m, self.gamma)
        return _adjusted(
            y, t, derivative, m, torch.where(length > 0, gamma * math.sqrt(y[0].numel()) / length, 1.0)
        )


def _adjusted(y: Tensor, t: Tensor, D: Tensor, m: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    # t_{l−1} = g_l(y_l + γ D_l² (t_l − y_l)), m_{l−1} = m_l / γ
    return y + gamma * D.square() * (t - y), m / gamma


class GaitProp(BlockRule):
    r"""GAIT-prop: the activity above, moved by a small gradient-adjusted step, is inverted to make a block's target.

    .. math:: t_{l-1} = g_l\big(y_l + \gamma D_l^2 (t_l - y_l)\big), \qquad t_L = y_L - \tfrac12\,g

    with :math:`g_l(y) = (f^{-1}(y) - b_l) W_l^{-1}`, D the derivative of the nonlinearity f, and g an example's
    derivative of the loss by the output. The local loss is :math:`m_l \|y_l - t_l\|^2` averaged over the batch, with
    :math:`m_L = 1` and :math:`m_{l-1} = m_l / \gamma`. Its forms are `Linearised`, `Constant` and `Adaptive`.

    Where :math:`W^{-1} = W^T` it is backpropagation, in norm too. The penalty ``orthogonality`` keeps weights near
    that. References: Ahmad, van Gerven & Ambrogioni 2020; Dalm, Ahmad, Ambrogioni & van Gerven 2021, 2023.

    Args:
        net: a chain; forms with targets need blocks of one square layer but the first, an invertible nonlinearity and
            float64.
        sample: one input, batch of one; needed where cut points are named.
        form: ``linearised``, ``constant`` or ``adaptive``.
        inverse: what stands for :math:`W^{-1}` in the linearised form: ``kept`` unless given, ``exact`` or ``learned``;
            see `biograd.rules.parts.inverse_strategies`. Forms with targets take none.
        exact: names of parameters, buffers or modules inside blocks of several weights that carry errors exactly, or
            patterns: ``layers.*.norm``.
        seed: of learned inverses.

    Raises:
        UnsupportedNet: the net is no chain, or does not have what the form needs.
        UserMistake: an inverse for a form with targets.
    """

    family: ClassVar[Family] = "target propagation"
    error_weights: ClassVar[ErrorWeights] = "all"
    needs: ClassVar[str] = "weights that can be read as matrices"
    sends_targets: ClassVar[bool] = True
    examples: ClassVar[Examples] = replace(CHAINS, draws=False)

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        form: Linearised | Constant | Adaptive = Linearised(),
        inverse: Exact | Kept | Learned | None = None,
        exact: ExactNames = (),
        undo: Undo = None,
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks, way=through_every_block)
        self._form = form
        self.scales_with_loss = isinstance(form, Linearised)
        asked = _Asked(inverse, exact, undo, sample, RandomStream(seed))
        self.way_back = form.way_back(self.chain(net), asked)
        self.way = self.way_back.way
        require_nothing_learns_before(self.chain(net), unwrap(net), self.way_back.whole)

    def teaching_signals(self, lesson: Lesson) -> Iterator[Tensor]:
        """The signal of every hidden block, from the last down, by the form."""
        yield from self._form.signals(self.way_back, lesson)  # pyright: ignore[reportArgumentType]  # the one it made

    def own_lessons(self, lesson: Lesson) -> Iterable[Root]:
        """The lessons of learned inverses; none for others."""
        return self.way_back.lessons(lesson)

    def inverse_weights(self, net: nn.Module) -> dict[str, Tensor]:
        """See `biograd.Rule.inverse_weights`."""
        return self.way_back.weights(self.chain(net))
