"""Feedback alignment: fixed random weights carry the error back."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor, nn

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
        seed: of B.

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
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, exact=exact)
        self.B = WeightTable(draw_beside(self.weights(net), scale, distribution, RandomStream(seed)))

    def feedback(self, name: str, weight: Tensor) -> Tensor:
        """B of this weight."""
        return self.B[name]
