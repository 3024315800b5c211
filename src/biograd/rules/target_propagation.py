"""Target propagation: each block's target is what the inverse of the block above makes of that block's own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from biograd.credit.chain.lesson import Lesson, through_every_block
from biograd.rules.base import ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.examples import SQUARE, Examples
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.target_chain import MARGIN, Margin, TargetChain, Undo
from biograd.settings import checked_settings


class TargetPropagation(BlockRule):
    r"""Target propagation through exact inverses: whole targets go down, not steps towards them.

    .. math:: t_{l-1} = g_l(t_l), \qquad g_l(y) = (f^{-1}(y) - b_l) W_l^{-1}, \qquad t_L = y_L - \tfrac12\,g

    with g an example's derivative of the loss by the output; for a sum of squares :math:`t_L` is the label itself. The
    local loss of every block is :math:`\|y_l - t_l\|^2` averaged over the batch. In orthogonal linear nets the rule is
    backpropagation. `DifferenceTargetPropagation` and its kin have learned decoders in place of exact inverses.
    Reference: the comparison of Ahmad, van Gerven & Ambrogioni 2020; Bengio 2014.

    Args:
        net: a chain of square layers (the first may have any shape) with invertible nonlinearities.
        sample: one input, batch of one; needed where cut points are named.
        margin: targets of tanh are cut to ±(1 − margin).

    Raises:
        UnsupportedNet: the net is no chain, or a block cannot be inverted.
    """

    family: ClassVar[Family] = "target propagation"
    scales_with_loss: bool = False
    error_weights: ClassVar[ErrorWeights] = "all"
    needs: ClassVar[str] = "square layers, nonlinearities that can be inverted"
    sends_targets: ClassVar[bool] = True
    takes_differences: ClassVar[bool] = True
    examples: ClassVar[Examples] = replace(SQUARE, draws=False)

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        margin: Margin = MARGIN,
        undo: Undo = None,
        inside: Inside = None,
        blocks: CutPoints = (),
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks, way=through_every_block)
        self._chain = TargetChain(self.chain(net), margin, None, undo)

    def teaching_signals(self, lesson: Lesson) -> Iterator[Tensor]:
        """``2 (y − t) / B`` of every hidden block, from the last down."""
        return self._chain.signals(lesson, _whole_target)

    def inverse_weights(self, net: nn.Module) -> dict[str, Tensor]:
        """See `biograd.Rule.inverse_weights`."""
        return self._chain.weights(self.chain(net))


def _whole_target(y: Tensor, t: Tensor, derivative: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    del y, derivative
    # t_{l−1} = g_l(t_l), and every local loss has the same weight
    return t, m
