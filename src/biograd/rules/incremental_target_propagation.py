"""Incremental target propagation: small target steps through exact inverses, without the gradient's adjustment."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.back.invertible_blocks import Bijection, activity, bijection, nonlinearity_of
from biograd.credit.back.own_inverses import require_use_of, suggesting_undo
from biograd.credit.chain.blocks import Block, require_nothing_learns_before
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson, through_every_block
from biograd.credit.wrappers import unwrap
from biograd.rules.base import ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.examples import INVERTIBLE, Examples
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.feedback_weights import Seed
from biograd.rules.parts.inverse_strategies import Columns, Exact, InverseStrategy, Kept, Learned
from biograd.rules.parts.inverses import Inverses
from biograd.rules.parts.random_stream import RandomStream
from biograd.rules.parts.target_chain import MARGIN, Margin, SmallSteps, TargetChain, Undo, refuse_inverse
from biograd.settings import Strategy, checked_settings


@dataclass(frozen=True, kw_only=True)
class Linearised(Strategy):
    r"""The limit γ → 0, :math:`e_{l-1} = (e_l D_l^{-1}) W_l^{-1}`.

    Args:
        columns: as for `biograd.rules.gait_prop.Linearised`.
        margin: the derivative of tanh is taken within ±(1 − margin).
    """

    name: ClassVar[str] = "linearised"
    columns: Columns = "used"
    margin: Margin = MARGIN

    def way_back(
        self, chain: list[Block], inverse: InverseStrategy | None, undo: str | None, stream: RandomStream
    ) -> Inverses:
        """The inverse of each block."""
        require_use_of(undo, chain)
        for block in chain[1:]:
            with suggesting_undo(block, undo):
                _nonlinearity(block, self.margin, undo)  # refuses one that cannot be inverted unit by unit
        return Inverses(chain, inverse or Kept(), self.columns, stream, undo)

    def signals(self, inverses: Inverses, lesson: Lesson) -> Iterator[Tensor]:
        """The e of every hidden block, from the last down, over B as the loss is a mean over B examples."""
        inverses.look(lesson)
        # e_L = g / B
        e = lesson.error
        for place in reversed(range(1, len(lesson.chain))):
            block, passage = lesson.chain[place], lesson.passages[place]
            f, passed_on = _nonlinearity(block, self.margin, inverses.undo)
            D = f.derivative(activity(f, passed_on, passage))
            # e_{l−1} = (e_l D_l⁻¹) W_l⁻¹, with e D⁻¹ as e D divided by D²
            e = inverses.send(place, lesson, lesson.drive_signal(place, e) / D.square())
            yield e


@dataclass(frozen=True, kw_only=True)
class Constant(Strategy):
    """Targets with a constant γ; they need square layers but the first, and float64.

    Args:
        gamma: γ.
        margin: targets of tanh are cut to ±(1 − margin).
    """

    name: ClassVar[str] = "constant"
    gamma: Annotated[float, Gt(0)] = 1e-3
    margin: Margin = MARGIN

    def way_back(
        self, chain: list[Block], inverse: InverseStrategy | None, undo: str | None, stream: RandomStream
    ) -> TargetChain:
        """The blocks, to be inverted one after another."""
        del stream
        refuse_inverse(inverse, self.name)
        steps = SmallSteps(f"itp with form={self.name!r}", self.gamma, shrink=True)
        return TargetChain(chain, self.margin, steps, undo)

    def signals(self, chain: TargetChain, lesson: Lesson) -> Iterator[Tensor]:
        """The signal of every hidden block, from the last down, :math:`2 m_l (y_l - t_l) / B`."""
        return chain.signals(lesson, self.step)

    def step(self, y: Tensor, t: Tensor, derivative: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """``(1 − γ) y + γ t`` and ``m / γ``."""
        del derivative
        # t_{l−1} = g_l((1 − γ) y_l + γ t_l), m_{l−1} = m_l / γ
        return (1 - self.gamma) * y + self.gamma * t, m / self.gamma


class IncrementalTargetPropagation(BlockRule):
    r"""ITP: the activity above, moved a small step towards its target, is inverted to make a block's target.

    .. math:: t_{l-1} = g_l\big((1 - \gamma) y_l + \gamma t_l\big), \qquad m_{l-1} = m_l / \gamma

    with the terms of `GaitProp`. Its forms are `Linearised` and `Constant`. The limit differs from backpropagation by
    the factor :math:`D^{-2}` even where weights are orthogonal; in linear nets it is GAIT-prop.
    Reference: Ahmad, van Gerven & Ambrogioni 2020.

    Args:
        net: a chain with invertible nonlinearities; targets also need square layers but the first, and float64.
        sample: one input, batch of one; needed where cut points are named.
        form: ``linearised`` or ``constant``.
        inverse: as for `GaitProp`.
        seed: of learned inverses.

    Raises:
        UnsupportedNet: the net is no chain, or does not have what the form needs.
        UserMistake: an inverse for a form with targets.
    """

    family: ClassVar[Family] = "target propagation"
    error_weights: ClassVar[ErrorWeights] = "all"
    needs: ClassVar[str] = "nonlinearities that can be inverted"
    sends_targets: ClassVar[bool] = True
    takes_differences: ClassVar[bool] = True
    examples: ClassVar[Examples] = replace(INVERTIBLE, draws=False)

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        form: Linearised | Constant = Linearised(),
        inverse: Exact | Kept | Learned | None = None,
        undo: Undo = None,
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks, way=through_every_block)
        self._form = form
        self.scales_with_loss = isinstance(form, Linearised)
        self.way_back = form.way_back(self.chain(net), inverse, undo, RandomStream(seed))
        require_nothing_learns_before(self.chain(net), unwrap(net))

    def teaching_signals(self, lesson: Lesson) -> Iterator[Tensor]:
        """The signal of every hidden block, from the last down, by the form."""
        yield from self._form.signals(self.way_back, lesson)  # pyright: ignore[reportArgumentType]  # the one it made

    def own_lessons(self, lesson: Lesson) -> Iterable[Root]:
        """The lessons of learned inverses; none for others."""
        return self.way_back.lessons(lesson)

    def inverse_weights(self, net: nn.Module) -> dict[str, Tensor]:
        """See `biograd.Rule.inverse_weights`."""
        return self.way_back.weights(self.chain(net))


def _nonlinearity(block: Block, margin: float, undo: str | None) -> tuple[Bijection, int | None]:
    """The nonlinearity of a block, and how many of its units are passed on."""
    layer, passed_on = nonlinearity_of(block, undo)
    return bijection(layer, margin, block.name), passed_on
