"""Direct random target projection: the label, not the error, goes straight to every hidden block."""

from dataclasses import replace
from typing import Annotated, ClassVar

import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.chain.lesson import Lesson
from biograd.errors import UserMistake
from biograd.rules.base import Awaited, ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.examples import CHAINS, Examples
from biograd.rules.parts.direct_feedback import DirectFeedback, Full, LowRank, Tiled
from biograd.rules.parts.feedback_weights import Seed
from biograd.settings import checked_settings


class DirectRandomTargetProjection(BlockRule):
    r"""Direct random target projection, :math:`\delta_l = -(B_l t) \circ \varphi'(a_l)`, t the one-hot label.

    B is fixed and random. Hidden blocks need no error and do not wait for the forward pass to end; the last
    block learns from the loss. Works best with a saturating nonlinearity: in a ReLU net the label drives
    units ever further. Reference: Frenkel, Lefebvre & Bol 2021.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        form: of every B, as in `DirectFeedbackAlignment`.
        scale: standard deviation of the entries of B times √outputs.
        seed: of B.
    """

    family: ClassVar[Family] = "direct feedback"
    error_weights: ClassVar[ErrorWeights] = "none"
    waits_for: ClassVar[Awaited] = "label"
    examples: ClassVar[Examples] = replace(CHAINS, falls_to={"convolutional": 0.8})

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        form: Full | LowRank | Tiled = Full(),
        scale: Annotated[float, Gt(0)] = 1.0,
        seed: Seed = 0,
    ) -> None:
        super().__init__(net)
        self.direct = DirectFeedback(net, sample, form=form, scale=scale, seed=seed)

    def teaching_signals(self, lesson: Lesson) -> list[Tensor]:
        """A signal for every hidden block; over the batch size, as the loss is a mean over it."""
        # δ_l = −(B_l t) ∘ φ'(a_l)
        return self.direct(one_hot(lesson.y, lesson.error) / -len(lesson.error), lesson.hidden)


def one_hot(y: Tensor, output: Tensor) -> Tensor:
    """Targets in the shape and dtype of the output: class indices as one-hot vectors, others as they are.

    Args:
        y: class indices ``(batch,)``, or ``(batch, …)`` for an output ``(batch, classes, …)``; or as many
            numbers as the output has.
        output: whose shape and dtype to take.

    Raises:
        UserMistake: the targets fit neither way.
    """
    is_index = not y.is_floating_point() and output.dim() > 1 and output.shape[1] > 1
    if is_index and y.shape == output.shape[:1] + output.shape[2:]:
        return F.one_hot(y, output.shape[1]).movedim(-1, 1).to(output.dtype)
    if y.numel() == output.numel():
        return y.to(output.dtype).view(output.shape)
    raise UserMistake(
        f"drtp needs class indices {tuple(output.shape[:1] + output.shape[2:])} or targets in the shape of the output "
        f"{tuple(output.shape)}; got {tuple(y.shape)} of {y.dtype}"
    )
