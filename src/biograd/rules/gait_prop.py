"""GAIT-prop: incremental targets, adjusted by the gradient so that orthogonal nets learn as by backpropagation."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block
from biograd.credit.chain.passages import Passage
from biograd.errors import UserMistake
from biograd.rules.feedback_weights import Seed
from biograd.rules.incremental_rule import IncrementalRule
from biograd.rules.inverse_rule import Columns, Strategy, Tolerance
from biograd.rules.orthogonality import Coefficient, Penalty, Period
from biograd.rules.target_chain import Margin
from biograd.settings import checked_settings

Form = Literal["linearised", "constant", "adaptive"]


class GaitProp(IncrementalRule):
    r"""GAIT-prop: each block's target is its activity, moved a little along the gradient-adjusted error above.

    .. math:: t_{l-1} = g_l\big(y_l + \gamma D_l^2 (t_l - y_l)\big), \qquad t_L = y_L - \tfrac12\,g

    with :math:`g_l(y) = (f^{-1}(y) - b_l) W_l^{-1}`, D the derivative of the nonlinearity, g an example's
    derivative of the loss. The local loss is :math:`m_l \|y_l - t_l\|^2` averaged over the batch, with
    :math:`m_{l-1} = m_l / \gamma`. Three forms:

    - ``linearised``, the limit γ → 0: :math:`e_{l-1} = (e_l D_l) W_l^{-1}`, backpropagation with the transpose
      replaced by the inverse. Any nonlinearity, any precision, no γ.
    - ``constant``: γ as it is set (Ahmad, van Gerven & Ambrogioni 2020). Rounding exhausts float64 after about
      four layers.
    - ``adaptive``: :math:`\gamma_l = \gamma \sqrt{d_l} / \|t_l - y_l\|` for every example, d units in the layer
      (Dalm et al. 2021, 2023).

    Where :math:`W^{-1} = W^T` it is backpropagation, in norm too.

    Args:
        net: a chain; targets (not the linearised form) need square layers but the first, an invertible
            nonlinearity and float64.
        sample: not needed.
        form: see above.
        gamma: γ of the target forms, 1e-3 (constant) or 1e-7 (adaptive) unless given; the linearised form has none.
        inverse: ``exact`` solves anew at every call; ``kept`` corrects an inverse from an earlier call; ``learned``
            is a linear map that learns from noise. Kept unless given; targets take exact alone.
        columns: ``used``: outputs that `biograd.layers.FirstUnits` leaves behind have no part, and widths may
            differ (pseudo-inverse); ``all``: as in the papers, every layer square, auxiliary units with their own
            activity as target. Used unless given; targets take all alone.
        tolerance: relative residual behind which a kept inverse is made anew, 1e-3 unless given.
        margin: targets of tanh are cut to ±(1 − margin), 1e-6 unless given; the linearised form cuts none.
        orthogonality: λ of the penalty on weights, added to the gradient of the mean loss; 0 for none.
        penalty: ``off-diagonal`` (first paper) or ``full`` (second); see `orthogonality_gradient`.
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
        form: Form = "linearised",
        gamma: Annotated[float, Gt(0)] | None = None,
        inverse: Strategy | None = None,
        columns: Columns | None = None,
        tolerance: Tolerance | None = None,
        margin: Margin | None = None,
        orthogonality: Coefficient = 0.0,
        penalty: Penalty = "off-diagonal",
        penalty_every: Period = 1,
        penalty_held: bool = False,
        seed: Seed = 0,
    ) -> None:
        del sample
        super().__init__(
            net,
            "gait-prop",
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
        if form == "linearised" and margin is not None:
            raise UserMistake(
                f"gait-prop: margin {margin:g} goes with the forms with targets; the linearised form cuts none: "
                "leave it out"
            )
        self._form, self._gamma = form, gamma or (1e-3 if form == "constant" else 1e-7)

    def next_target(self, y: Tensor, t: Tensor, derivative: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """``y + γ D² (t − y)`` and ``m / γ``."""
        gamma = torch.full_like(m, self._gamma)
        if self._form == "adaptive":
            length = torch.linalg.vector_norm((t - y).flatten(1), dim=1).view_as(m)
            gamma = torch.where(length > 0, gamma * math.sqrt(y[0].numel()) / length, 1.0)
        return y + gamma * derivative.square() * (t - y), m / gamma

    def drive_error(self, block: Block, passage: Passage, signal: Tensor) -> Tensor:
        """``e D``."""
        del block
        return passage.drive_signal(signal)
