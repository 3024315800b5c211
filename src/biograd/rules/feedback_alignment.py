"""Feedback alignment: fixed random weights carry the error back."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Gt
from torch import Tensor, nn

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
from biograd.rules.parts.random_stream import RandomStream
from biograd.searched import LogUniform
from biograd.settings import checked_settings


class FeedbackAlignment(FeedbackRule):
    r"""Feedback alignment, :math:`\delta_l = (B_{l+1} \delta_{l+1}) \circ \varphi'(a_l)`, B fixed and random.

    Equals backpropagation when :math:`B = W^\top`. Reference: Lillicrap, Cownden, Tweed & Akerman 2016.

    Args:
        net: any net; see `FeedbackRule`.
        sample: not needed.
        scale: standard deviation of B in units of the RMS of W when the rule is made.
        distribution: what B is drawn from.
        seed: of B.

    Attributes:
        B: the feedback weights by parameter name, fixed; in W's own shape, so ``B[name]`` equal to W is
            backpropagation.
    """

    error_weights: ClassVar[ErrorWeights] = "none"

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
        self.B = WeightTable(draw_beside(net, self.weights(net), scale, distribution, RandomStream(seed)))

    def feedback(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """B, whatever the weights are."""
        # δ_l = (B_{l+1} δ_{l+1}) ∘ φ'(a_l)
        return self.B.by_name()
