"""Feedback alignment: fixed random weights carry the error back."""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from biograd.errors import UserMistake
from biograd.rules.base import Credit, Loss
from biograd.rules.feedback_rule import FeedbackRule, WeightTable
from biograd.rules.feedback_weights import Distribution, Seed, draw_beside
from biograd.rules.random_stream import RandomStream
from biograd.settings import checked_settings


class FeedbackAlignment(FeedbackRule):
    r"""Feedback alignment, :math:`\delta_l = (B_{l+1} \delta_{l+1}) \circ \varphi'(a_l)`, B fixed and random.

    Equals backpropagation when :math:`B = W^\top`. Reference: Lillicrap, Cownden, Tweed & Akerman 2016.

    Args:
        net: any net; see `FeedbackRule`.
        sample: not needed.
        scale: standard deviation of B in units of the RMS of W when the rule is made.
        distribution: what B is drawn from.
        exact: names of parameters or modules that keep their exact derivative.
        decay: λ ≥ 0; λW is added to the gradient of the weights named in ``decayed``. A penalty on the output layer
            alone makes a two-layer net align with its feedback (Song, Xu & Lafferty 2021).
        decayed: names of weights, ``2.weight``.
        seed: of B.

    Raises:
        UserMistake: a decay without weights, weights without a decay, or a name that is no weight's.

    Attributes:
        B: the feedback weights by parameter name, fixed; in W's own shape, so ``B[name]`` equal to W is
            backpropagation.
    """

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        scale: Annotated[float, Gt(0)] = 1.0,
        distribution: Distribution = "uniform",
        exact: tuple[str, ...] = (),
        decay: Annotated[float, Ge(0)] = 0.0,
        decayed: tuple[str, ...] = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, exact=exact)
        _check_decay(decay, decayed, self.names)
        self.decay, self.decayed = decay, decayed
        self.B = WeightTable(draw_beside(self.weights(net), scale, distribution, RandomStream(seed)))

    def feedback(self, name: str, weight: Tensor) -> Tensor:
        """B of this weight."""
        return self.B[name]

    def assign_credit(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Credit:
        """See `Rule.assign_credit`; the loss that is returned has no part of the decay."""
        credit = super().assign_credit(net, x, y, loss_fn)
        if self.decayed:
            weights = self.weights(net)
            with torch.no_grad():
                for weight in (weights[name] for name in self.decayed):
                    if weight.grad is not None and weight.requires_grad:
                        weight.grad.add_(weight, alpha=self.decay)
        return credit


def _check_decay(decay: float, decayed: Iterable[str], names: list[str]) -> None:
    if bool(decay) != bool(decayed):
        raise UserMistake(
            f"decay {decay:g} for {', '.join(decayed) or 'no weight'}: give both a decay above 0 and the weights that "
            f"it is for, decayed, of {', '.join(names)}"
        )
    for name in decayed:
        if name not in names:
            raise UserMistake(
                f"decayed names {name!r}, which is no weight that fa teaches: those are {', '.join(names)}"
            )
