"""Running sums over examples, kept on the device so that no step waits for a number."""

from typing import NamedTuple

import torch
from torch import Tensor

from biograd.data.tasks import Task
from biograd.rules.base import Credit
from biograd.training.measures import RUNNING, Values, precise


class Scores(NamedTuple):
    """Loss per example, and the metrics of the task by name; see `biograd.tasks`."""

    loss: float
    metrics: Values


class Tally:
    """Sums of loss, of examples, and of what the metrics of a task are made of.

    Args:
        task: of the examples.
        device: where the sums are kept.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=precise(device), device=device)
        self.measure = RUNNING[task.kind](task, device)
        self.examples = 0

    def add(self, credit: Credit, y: Tensor) -> None:
        """Count one batch, whose loss is a mean over its examples."""
        self.loss.add_(credit.loss, alpha=len(y))
        self.measure.add(credit.output, y)
        self.examples += len(y)

    def sums(self) -> Tensor:
        """Loss, what the metrics are made of, and examples, in one row."""
        ends = self.loss.view(1), torch.full_like(self.loss, self.examples).view(1)
        return torch.cat([ends[0], self.measure.sums.to(self.loss.dtype), ends[1]])

    def restore(self, sums: Tensor) -> None:
        """Go on from what `sums` gave."""
        self.loss.copy_(sums[0])
        self.measure.sums.copy_(sums[1:-1])
        self.examples = int(sums[-1])

    def could_be(self, sums: Tensor) -> bool:
        """Whether numbers in the shape of `sums` are such that batches may add up to them; losses may have diverged."""
        examples = sums[-1].item()
        return 0 <= examples < 2**53 and self.measure.could_be(sums[1:-1], int(examples))

    def scores(self, sums: Tensor) -> Scores:
        """Means of what `sums` gave, added up over processes or not."""
        loss, *_, examples = sums.tolist()
        return Scores(loss / examples, self.measure.values(sums[1:-1].cpu().double(), int(examples)))
