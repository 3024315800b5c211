"""Direct feedback alignment: the output error goes straight to every hidden block."""

from typing import Annotated, ClassVar

from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.chain.lesson import Lesson
from biograd.rules.base import ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.parts.chains import Inside
from biograd.rules.parts.direct_feedback import DirectFeedback, Full, LowRank, Tiled
from biograd.rules.parts.feedback_weights import Seed
from biograd.settings import checked_settings


class DirectFeedbackAlignment(BlockRule):
    r"""Direct feedback alignment, :math:`\delta_l = (B_l e) \circ \varphi'(a_l)`, e the error of the output.

    B is fixed and random. No product with a weight carries an error back, so a step is cheaper than
    backpropagation's. With one hidden block it equals feedback alignment. Reference: Nøkland 2016.

    For convolutional and locally connected blocks there are three forms, by memory for a block of
    C channels × P positions and K outputs: ``full`` C·P·K numbers, ``low-rank`` (C·P + K)·rank, ``tiled`` (one
    signal a channel, the same at every position) C·K.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        form: of every B; ``low-rank`` has a ``rank``.
        scale: standard deviation of the entries of B times √K.
        seed: of B.
    """

    family: ClassVar[Family] = "direct feedback"
    error_weights: ClassVar[ErrorWeights] = "none"

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        form: Full | LowRank | Tiled = Full(),
        scale: Annotated[float, Gt(0)] = 1.0,
        inside: Inside = None,
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, inside=inside)
        self.direct = DirectFeedback(net, sample, form=form, scale=scale, seed=seed)

    def teaching_signals(self, lesson: Lesson) -> list[Tensor]:
        """A signal for every hidden block; autograd supplies φ'."""
        # δ_l = (B_l e) ∘ φ'(a_l)
        return self.direct(lesson.error, lesson.hidden)
