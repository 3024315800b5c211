"""Direct random target projection: the label, not the error, goes straight to every hidden block."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.chain.lesson import Lesson
from biograd.credit.chain.places import Axis
from biograd.credit.loss_terms import (
    PLAIN,
    Terms,
    are_labels_of,
    is_ignored,
    require_honoured,
    soft_targets,
    targets,
    terms_of,
)
from biograd.errors import UserMistake
from biograd.rules.base import Awaited, ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.examples import CHAINS, Examples
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.direct_feedback import DirectFeedback, Full, LowRank, Tiled
from biograd.rules.parts.feedback_weights import Seed
from biograd.rules.parts.places import Classes, Features, Layout, Places
from biograd.searched import LogUniform
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
    scales_with_loss: bool = False
    aims_at_labels: ClassVar[bool] = True
    error_weights: ClassVar[ErrorWeights] = "none"
    waits_for: ClassVar[Awaited] = "label"
    examples: ClassVar[Examples] = replace(CHAINS, falls_to={"convolutional": 0.8})

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        form: Full | LowRank | Tiled = Full(),
        scale: Annotated[float, Gt(0), LogUniform(0.1, 10.0)] = 1.0,
        places: Places = None,
        features: Features = (),
        classes: Classes = None,
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks)
        layout = Layout(places=places, features=features, classes=classes)
        self.direct = DirectFeedback(self.chain(net), sample, form, layout, scale=scale, seed=seed)

    def teaching_signals(self, lesson: Lesson) -> Iterator[Tensor]:
        """A signal for every hidden block; over the batch size, as the loss is a mean over it, and over its tokens."""
        # δ_l = −(B_l t) ∘ φ'(a_l)
        require_honoured(lesson.y, lesson.loss_fn)
        t = aimed_at(lesson.y, lesson.error, terms_of(lesson.loss_fn), self.direct.source.axis or "first")
        return self.direct.of_mean(-t, lesson.hidden)


def aimed_at(y: Tensor, output: Tensor, terms: Terms = PLAIN, classes: Axis = "first") -> Tensor:
    """Targets in the shape and dtype of the output: class indices as one-hot vectors, others as they are.

    Labels are as sharp as the loss wants them, and 0 for every class where the loss ignores them.

    Args:
        y: class indices ``(batch, …)``, one for each place of the output; or as many numbers as the output has.
        output: whose shape and dtype to take.
        terms: what the loss says of labels.
        classes: which axis of an example holds them, ``first`` in ``(batch, classes, …)``.

    Raises:
        UserMistake: the targets fit neither way.
    """
    if classes == "last" and output.dim() > 2:
        is_like_output = y.shape == output.shape
        t = aimed_at(y.movedim(-1, 1) if is_like_output else y, output.movedim(-1, 1), terms)
        return t.movedim(1, -1)
    if classes != "absent" and are_labels_of(output, y) and output.shape[1] > 1:
        t, ignored = targets(y, output.shape[1], output.dtype, terms), is_ignored(y, terms)
        return t if ignored is None else t.masked_fill(ignored.unsqueeze(1), 0)
    if y.shape == output.shape and y.is_floating_point() and output.dim() > 1:
        return soft_targets(y.to(output.dtype), terms)
    if y.numel() == output.numel():
        return y.to(output.dtype).view(output.shape)
    raise UserMistake(
        f"drtp needs class indices {tuple(output.shape[:1] + output.shape[2:])} or targets in the shape of the output "
        f"{tuple(output.shape)}; got {tuple(y.shape)} of {y.dtype}"
    )
