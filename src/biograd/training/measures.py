"""What is measured of a net's answers beside their loss, a class a metric or two; see `biograd.tasks`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from biograd.data.tasks import Regression, Task
from biograd.tasks import Kind
from biograd.training.distributed import Ranks

Values = dict[str, float | None]
"""Metrics by name; None where one is not defined for the examples that were met."""


class Running(ABC):
    """Metrics that are made of sums over examples, kept on the device so that no step waits for a number.

    Attributes:
        sums: one-dimensional.
    """

    sums: Tensor

    @abstractmethod
    def add(self, output: Tensor, y: Tensor) -> None:
        """Count one batch."""

    @abstractmethod
    def could_be(self, sums: Tensor, examples: int) -> bool:
        """Whether so many examples may add up to such sums."""

    @abstractmethod
    def values(self, sums: Tensor, examples: int) -> Values:
        """The metrics of sums on the CPU in float64, added up over processes or not."""


class Correct(Running):
    """Accuracy: how many answers are largest for the right class.

    Args:
        task: of the answers.
        device: where the sum is kept.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        del task
        self.sums = torch.zeros(1, dtype=torch.int64, device=device)

    def add(self, output: Tensor, y: Tensor) -> None:
        """Count one batch; ``output`` is ``(batch, classes)``."""
        self.sums += (output.argmax(1) == y).sum()

    def could_be(self, sums: Tensor, examples: int) -> bool:
        """Whether no more are right than there are."""
        return 0 <= sums.item() <= examples

    def values(self, sums: Tensor, examples: int) -> Values:
        """The share of examples."""
        return {"accuracy": sums.item() / examples}


class Errors(Running):
    r"""How far numbers are off: mean :math:`|o - t|`, and :math:`R^2 = 1 - \sum (o - t)^2 / \sum (t - \bar t)^2`.

    Both are means over the outputs; the first in the units of the targets. An output whose target is the same for all
    examples has no :math:`R^2`.

    Args:
        task: a regression.
        device: where the sums are kept.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        assert isinstance(task, Regression)
        self._units = torch.tensor(task.std, dtype=torch.float64)
        self.sums = torch.zeros(4 * task.outputs, dtype=precise(device), device=device)

    def add(self, output: Tensor, y: Tensor) -> None:
        """Count one batch; both are ``(batch, outputs)``."""
        t, error = y.to(self.sums.dtype), (output - y).to(self.sums.dtype)
        self.sums += torch.cat([part.sum(0) for part in (error.abs(), error.square(), t, t.square())])

    def could_be(self, sums: Tensor, examples: int) -> bool:
        """Whether sums of sizes and of squares are none below 0."""
        errors, squares, _, total_squares = sums.view(4, -1)
        return not any((one < 0).any() for one in (errors, squares, total_squares))

    def values(self, sums: Tensor, examples: int) -> Values:
        """``r2`` and ``mean_absolute_error``."""
        errors, squares, total, total_squares = sums.view(4, -1)
        spread = total_squares - total.square() / examples
        varies = spread > 1e-12 * total_squares  # what is left of equal numbers is rounding
        r2 = (1 - squares[varies] / spread[varies]).mean().item() if varies.any() else None
        return {"r2": r2, "mean_absolute_error": (errors / examples * self._units).mean().item()}


class OfTokens(Running):
    r"""Bits a token, the mean of :math:`-\log_2 p` of the right class under the softmax p, and how many are right.

    Args:
        task: of the answers.
        device: where the sums are kept.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        del task
        self.sums = torch.zeros(3, dtype=precise(device), device=device)

    def add(self, output: Tensor, y: Tensor) -> None:
        """Count one batch; ``output`` is ``(batch, tokens, classes)``."""
        o, t = output.flatten(0, 1), y.flatten()
        nats = F.cross_entropy(o if o.dtype.itemsize >= 4 else o.float(), t, reduction="sum")
        found = torch.stack([nats, (o.argmax(1) == t).sum(), torch.full_like(nats, len(t))])
        self.sums += found.to(self.sums.dtype)

    def could_be(self, sums: Tensor, examples: int) -> bool:
        """Whether no more tokens are right than there are, and of each example one at least."""
        _, correct, tokens = sums.tolist()
        return 0 <= correct <= tokens and examples <= tokens

    def values(self, sums: Tensor, examples: int) -> Values:
        """``bits_per_token`` and ``token_accuracy``."""
        nats, correct, tokens = sums.tolist()
        return {"bits_per_token": nats / tokens / math.log(2), "token_accuracy": correct / tokens}


class OfTheLikeliest(Running):
    """Precision at 1: of the examples that have a label, the share whose largest answer is of one that they have.

    It asks for no bound between yes and no, which would depend on the loss. Where there is but one label, there is
    nothing to choose, and it is not defined.

    Args:
        task: of the answers.
        device: where the sums are kept.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self._has_choice = task.outputs > 1
        self.sums = torch.zeros(2, dtype=torch.int64, device=device)

    def add(self, output: Tensor, y: Tensor) -> None:
        """Count one batch; both are ``(batch, labels)``."""
        right = y.gather(1, output.argmax(1, keepdim=True)) != 0
        self.sums += torch.stack([right.sum(), y.any(1).sum()])

    def could_be(self, sums: Tensor, examples: int) -> bool:
        """Whether no more are right than have a label, nor more have one than there are."""
        right, labelled = sums.tolist()
        return 0 <= right <= labelled <= examples

    def values(self, sums: Tensor, examples: int) -> Values:
        """``precision_at_1``; None where no example has a label, or there is but one."""
        right, labelled = sums.tolist()
        return {"precision_at_1": right / labelled if labelled and self._has_choice else None}


class Whole(ABC):
    """Metrics for which the examples of a part are looked at all together."""

    @abstractmethod
    def add(self, output: Tensor, y: Tensor) -> None:
        """Take one batch."""

    @abstractmethod
    def values(self, ranks: Ranks) -> Values:
        """The metrics of all that the processes took."""


class OfEachClass(Whole):
    """Balanced accuracy, the mean over classes of the share of each that is recognised.

    Where one class is rare, accuracy hides it. A class without examples has no part in the mean.

    Args:
        task: of the answers.
        device: where the counts are kept.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self.counts = torch.zeros(2, task.outputs, dtype=torch.int64, device=device)

    def add(self, output: Tensor, y: Tensor) -> None:
        """Count one batch; ``output`` is ``(batch, classes)``."""
        of_class = y.unsqueeze(1) == torch.arange(self.counts.shape[1], device=y.device)  # (batch, classes)
        recognised = of_class & (output.argmax(1) == y).unsqueeze(1)
        self.counts += torch.stack([of_class.sum(0), recognised.sum(0)])

    def values(self, ranks: Ranks) -> Values:
        """``balanced_accuracy``."""
        examples, recognised = ranks.sum(self.counts).cpu().double()
        shown = examples > 0
        return {"balanced_accuracy": (recognised[shown] / examples[shown]).mean().item()}


class AveragePrecision(Whole):
    r"""Mean average precision: over labels, :math:`\sum_n (R_n - R_{n-1}) P_n` with precision and recall by threshold.

    A label that no example has, has no part in the mean.

    Args:
        task: of the answers.
        device: not used: answers are kept on the CPU.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        del device
        self._kept = [torch.zeros(0, 2, task.outputs)]  # of few examples a process may get none

    def add(self, output: Tensor, y: Tensor) -> None:
        """Keep one batch; both are ``(batch, labels)``."""
        self._kept.append(torch.stack([output.float(), y.float()], 1).cpu())

    def values(self, ranks: Ranks) -> Values:
        """``mean_average_precision``; None where no label is there, or an answer is not finite."""
        from sklearn.metrics import average_precision_score  # here: it takes a second to import

        answers, t = ranks.joined(torch.cat(self._kept)).unbind(1)
        shown = t.any(0)
        if not shown.any() or not answers.isfinite().all():
            return {"mean_average_precision": None}
        found = average_precision_score(t[:, shown].numpy(), answers[:, shown].numpy(), average="macro")
        return {"mean_average_precision": float(found)}


RUNNING: dict[Kind, Callable[[Task, torch.device], Running]] = {
    "classes": Correct,
    "regression": Errors,
    "labels": OfTheLikeliest,
    "tokens": OfTokens,
}
"""What is measured while a net trains, and of every part, by kind of task."""

WHOLE: dict[Kind, Callable[[Task, torch.device], Whole]] = {
    "classes": OfEachClass,
    "labels": AveragePrecision,
}
"""What is measured besides of the parts that are evaluated."""


def precise(device: torch.device) -> torch.dtype:
    """Float64, except on ``mps``, which has none."""
    return torch.float32 if device.type == "mps" else torch.float64
