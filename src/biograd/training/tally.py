"""Running sums over examples, kept on the device so that no step waits for a number."""

from typing import NamedTuple

import torch
from torch import Tensor

from biograd.rules.base import Credit


class Means(NamedTuple):
    """Loss and accuracy (a fraction) per example."""

    loss: float
    accuracy: float


class Scores(NamedTuple):
    """Loss and accuracy per example, and the mean over classes of the share of each that is recognised."""

    loss: float
    accuracy: float
    balanced_accuracy: float


class Tally:
    """Sums of loss, of correct answers and of examples.

    Args:
        device: where the sums are kept; in float64, except on ``mps``, which has none.
    """

    def __init__(self, device: torch.device) -> None:
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.loss = torch.zeros((), dtype=dtype, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.examples = 0

    def add(self, credit: Credit, y: Tensor) -> None:
        """Count one batch, whose loss is a mean over its examples."""
        self.loss.add_(credit.loss, alpha=len(y))
        self.correct.add_((credit.output.argmax(1) == y).sum())
        self.examples += len(y)

    def sums(self) -> Tensor:
        """Loss, correct answers and examples, ``(3,)``."""
        return torch.stack([self.loss, self.correct, torch.full_like(self.loss, self.examples)])

    def restore(self, sums: Tensor) -> None:
        """Go on from what `sums` gave."""
        self.loss.copy_(sums[0])
        self.correct.copy_(sums[1])
        self.examples = int(sums[2])


def means(sums: Tensor) -> Means:
    """Means of what `Tally.sums` gave, added up over processes or not."""
    loss, correct, examples = sums.tolist()
    return Means(loss / examples, correct / examples)


class ClassTally:
    """Examples of each class and how many of them were recognised: where one class is rare, accuracy hides it.

    Args:
        classes: how many there are.
        device: where the counts are kept.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self.counts = torch.zeros(2, classes, dtype=torch.int64, device=device)

    def add(self, output: Tensor, y: Tensor) -> None:
        """Count one batch; ``output`` is ``(batch, outputs)``."""
        of_class = y.unsqueeze(1) == torch.arange(self.counts.shape[1], device=y.device)  # (batch, classes)
        recognised = of_class & (output.argmax(1) == y).unsqueeze(1)
        self.counts += torch.stack([of_class.sum(0), recognised.sum(0)])


def scores(sums: Tensor, counts: Tensor) -> Scores:
    """What `Tally.sums` and `ClassTally` gave, as numbers; a class without examples has no part in the mean."""
    examples, recognised = counts.cpu().double()
    shown = examples > 0
    return Scores(*means(sums), (recognised[shown] / examples[shown]).mean().item())
