"""Incremental target propagation: small target steps through exact inverses, without the gradient's adjustment."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.back.invertible_blocks import Bijection, bijection, nonlinearity_of
from biograd.credit.chain.blocks import Block, blocks
from biograd.credit.chain.passages import Passage
from biograd.rules.feedback_weights import Seed
from biograd.rules.incremental_rule import IncrementalRule
from biograd.rules.inverse_rule import Columns, Strategy, Tolerance
from biograd.rules.orthogonality import Coefficient, Penalty, Period
from biograd.rules.target_chain import MARGIN, Margin
from biograd.settings import checked_settings


class IncrementalTargetPropagation(IncrementalRule):
    r"""ITP: each block's target is its activity, moved a little towards what the target above would have it be.

    .. math:: t_{l-1} = g_l\big((1 - \gamma) y_l + \gamma t_l\big), \qquad m_{l-1} = m_l / \gamma

    with the terms of `GaitProp`. The form ``linearised`` is the limit γ → 0,
    :math:`e_{l-1} = (e_l D_l^{-1}) W_l^{-1}`. Against backpropagation it is wrong by :math:`D^{-2}`, also where
    weights are orthogonal; in linear nets it is GAIT-prop. Reference: Ahmad, van Gerven & Ambrogioni 2020.

    Args:
        net: a chain with invertible nonlinearities; targets also need square layers but the first, and float64.
        sample: not needed.
        form: ``linearised``, or ``constant`` for targets with a constant γ.
        gamma: γ of targets, 1e-3 unless given; the linearised form has none.
        inverse: as for `GaitProp`.
        columns: as for `GaitProp`.
        tolerance: relative residual behind which a kept inverse is made anew, 1e-3 unless given.
        margin: targets of tanh are cut to ±(1 − margin).
        orthogonality: λ of the penalty on weights, added to the gradient of the mean loss; 0 for none.
        penalty: see `orthogonality_gradient`.
        penalty_every: the penalty comes every so many calls, with so many times the weight.
        penalty_held: it is computed at every so many calls and added at every call, which suits Adam better.
        seed: of learned inverses.

    Raises:
        UnsupportedNet: the net is no chain, or does not have what the form needs.
        UserMistake: settings that do not go together.
    """

    family: ClassVar[str] = "target propagation"

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        form: Literal["linearised", "constant"] = "linearised",
        gamma: Annotated[float, Gt(0)] | None = None,
        inverse: Strategy | None = None,
        columns: Columns | None = None,
        tolerance: Tolerance | None = None,
        margin: Margin = MARGIN,
        orthogonality: Coefficient = 0.0,
        penalty: Penalty = "off-diagonal",
        penalty_every: Period = 1,
        penalty_held: bool = False,
        seed: Seed = 0,
    ) -> None:
        del sample
        super().__init__(
            net,
            "itp",
            form=form,
            gamma=gamma,
            inverse=inverse,
            columns=columns,
            tolerance=tolerance,
            margin=margin,
            orthogonality=orthogonality,
            penalty=penalty,
            penalty_every=penalty_every,
            penalty_held=penalty_held,
            seed=seed,
        )
        self._margin, self._gamma = margin, gamma or 1e-3
        for block in blocks(net)[1:]:
            _bijection(block, margin)  # whatever its width, it must be invertible unit by unit

    def next_target(self, y: Tensor, t: Tensor, derivative: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """``(1 − γ) y + γ t`` and ``m / γ``."""
        del derivative
        return (1 - self._gamma) * y + self._gamma * t, m / self._gamma

    def drive_error(self, block: Block, passage: Passage, signal: Tensor) -> Tensor:
        """``e D⁻¹``, as ``e D`` divided by ``D²``."""
        derivative = _bijection(block, self._margin).derivative(passage.drive.detach())
        return passage.drive_signal(signal) / derivative.square()


def _bijection(block: Block, margin: float) -> Bijection:
    return bijection(nonlinearity_of(block)[0], margin, block.name)
