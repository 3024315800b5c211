"""The first target: a small step against the gradient, or the label."""

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor

from biograd.credit.chain.lesson import Lesson
from biograd.credit.chain.places import Axis
from biograd.credit.loss_terms import (
    PLAIN,
    Terms,
    are_distributions,
    are_indices,
    are_labels_of,
    is_ignored,
    require_honoured,
    soft_targets,
    targets,
    terms_of,
)
from biograd.credit.weighting import Weighting
from biograd.errors import UserMistake
from biograd.settings import Meaning

Alpha = Annotated[float, Gt(0), Meaning("α")]
Step = Annotated[
    Literal["sum", "mean"],
    Meaning(
        "whether the gradient is each example's own, that of the loss summed over the batch (``sum``), or that of the "
        "mean over the batch (``mean``), smaller by the number of examples that count in the call: parts of a batch, "
        "accumulated or in several processes, then take longer steps than the whole"
    ),
]


def step_against(gradient: Tensor, alpha: float, step: Step, counted: Tensor | None = None) -> Tensor:
    r""":math:`h - \hat h = \alpha\,\partial\mathcal{L} / \partial h`, in the shape of ``gradient``.

    Args:
        gradient: derivative of the mean loss over a batch, ``(batch, …)``, as if all examples counted.
        alpha: α.
        step: whether α multiplies each example's own gradient (``sum``: that of the loss summed over the batch), or
            that of the mean (``mean``), smaller by the batch size.
        counted: which examples do; see `biograd.credit.chain.lesson.Lesson`.
    """
    # of the mean loss each example's gradient is 1/B of its own
    if step == "sum":
        return gradient * (alpha * len(gradient))
    return Weighting(counted, len(gradient)).of(gradient) * alpha  # B is how many count


class ClassTargets:
    """Labels as first targets, as sharp as a cross-entropy wants them.

    The values of the first batch are checked, which waits for the device.

    Args:
        classes: which axis of an example holds them, ``first`` in ``(batch, classes, …)``.

    Raises:
        UserMistake: at a batch whose targets are no classes, or a weighted loss that the rule cannot honour.
    """

    def __init__(self, classes: Axis = "first") -> None:
        self._axis, self._has_looked = classes, False

    def beside_probabilities(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """The softmax p of the output, and the targets, as `of` gives them."""
        return self.probabilities(lesson.outputs[-1].detach()), self.of(lesson)

    def of(self, lesson: Lesson) -> Tensor:
        """The targets as distributions, in the shape and dtype of the output; p itself where a label is ignored."""
        output, y, terms = lesson.outputs[-1].detach(), lesson.y, terms_of(lesson.loss_fn)
        require_honoured(y, lesson.loss_fn)
        if self._axis == "first" or output.dim() < 3:
            return self._beside(lesson, y, output, terms)
        y = y.movedim(-1, 1) if y.shape == output.shape else y
        return self._beside(lesson, y, output.movedim(-1, 1), terms).movedim(1, -1)

    def _beside(self, lesson: Lesson, y: Tensor, output: Tensor, terms: Terms) -> Tensor:
        """The targets of an output ``(batch, classes, …)``."""
        all_count = lesson.counted is None  # as was seen of labels when the loss was computed
        t = class_distributions(y, output, terms, check=not self._has_looked, all_count=all_count)
        self._has_looked = True
        ignored = None if all_count or not are_indices(y, len(output)) else is_ignored(y, terms)
        return t if ignored is None else torch.where(ignored.unsqueeze(1), output.softmax(1), t)

    def probabilities(self, output: Tensor, h: Tensor | None = None) -> Tensor:
        """The softmax of an output over its classes; a `biograd.rules.parts.decoders.Read`."""
        del h
        return output.softmax(1 if self._axis == "first" else -1)

    def look(self, lesson: Lesson) -> None:
        """Refuse targets that are no classes also where a batch has no use for them."""
        if not self._has_looked:
            self.of(lesson)


def class_distributions(
    y: Tensor, output: Tensor, terms: Terms = PLAIN, *, check: bool = False, all_count: bool = False
) -> Tensor:
    """Targets as distributions over the classes, in the shape and dtype of the output.

    Args:
        y: class indices ``(batch, …)``, or distributions in the output's shape.
        output: of the net, ``(batch, classes, …)``.
        terms: what the loss says of labels.
        check: whether to look at the values of distributions too, which waits for the device.
        all_count: whether it is known that no label is ignored.

    Raises:
        UserMistake: targets that are neither, or an output for fewer than two classes.
    """
    if output.dim() < 2 or output.shape[1] < 2:
        raise UserMistake(
            "the rule needs an output with a value a class, (batch, classes, …), and got "
            f"{tuple(output.shape)}: use two outputs and cross-entropy, or the rule dtp"
        )
    if are_labels_of(output, y):
        return targets(y, output.shape[1], output.dtype, terms, all_count=all_count)
    if y.shape == output.shape and y.is_floating_point() and (not check or are_distributions(y)):
        return soft_targets(y.to(output.dtype), terms)
    raise UserMistake(
        f"the rule needs classes to aim at, indices {tuple(output.shape[:1] + output.shape[2:])} or distributions "
        f"{tuple(output.shape)} that add up to 1, and got {tuple(y.shape)} of {y.dtype}: for other targets use "
        "the rule dtp"
    )
