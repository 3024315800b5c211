"""Target propagation: each block's target is what the inverse of the block above makes of that block's own."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from biograd.rules.block_rule import Lesson
from biograd.rules.inverse_rule import InverseRule
from biograd.rules.orthogonality import Coefficient, Penalty, Period
from biograd.rules.target_chain import MARGIN, Margin, TargetChain
from biograd.settings import checked_settings


class TargetPropagation(InverseRule):
    r"""Target propagation through exact inverses: whole targets go down, not steps towards them.

    .. math:: t_{l-1} = g_l(t_l), \qquad g_l(y) = (f^{-1}(y) - b_l) W_l^{-1}, \qquad t_L = y_L - \tfrac12\,g

    with g an example's derivative of the loss; for a sum of squares :math:`t_L` is the label itself. The local
    loss of every block is :math:`\|y_l - t_l\|^2` averaged over the batch. In orthogonal linear nets it is
    backpropagation. Learned decoders in place of exact inverses: `DifferenceTargetPropagation` and its kin.
    Reference: the comparison of Ahmad, van Gerven & Ambrogioni 2020; Bengio 2014.

    Args:
        net: a chain of square layers (the first may have any shape) with invertible nonlinearities.
        sample: not needed.
        margin: targets of tanh are cut to ±(1 − margin).
        orthogonality: λ of the penalty on weights, added to the gradient of the mean loss; 0 for none.
        penalty: see `orthogonality_gradient`.
        penalty_every: the penalty comes every so many calls, with so many times the weight.
        penalty_held: it is computed at every so many calls and added at every call, which suits Adam better.

    Raises:
        UnsupportedNet: the net is no chain, or a block cannot be undone.
    """

    family: ClassVar[str] = "target propagation"

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        margin: Margin = MARGIN,
        orthogonality: Coefficient = 0.0,
        penalty: Penalty = "off-diagonal",
        penalty_every: Period = 1,
        penalty_held: bool = False,
    ) -> None:
        del sample
        super().__init__(
            net,
            orthogonality=orthogonality,
            penalty=penalty,
            penalty_every=penalty_every,
            penalty_held=penalty_held,
            seed=0,
        )
        self._targets = TargetChain(net, margin, _next_target, precise=None)

    def teaching_signals(self, lesson: Lesson) -> Sequence[Tensor]:
        """``2 (y − t) / batch`` of every hidden block."""
        return self._targets.signals(lesson)


def _next_target(y: Tensor, t: Tensor, derivative: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    """The target itself is undone, and every local loss has the same weight."""
    del y, derivative
    return t, m
