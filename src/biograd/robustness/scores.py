"""What a model's answers are worth: accuracy, balanced accuracy, margins."""

import torch
from torch import Tensor


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """The logit of the right class less the largest of the others, ``(batch,)``; negative where it is wrong."""
    right = logits.gather(1, y.unsqueeze(1))
    others = logits.scatter(1, y.unsqueeze(1), -torch.inf)
    return (right - others.amax(1, keepdim=True)).squeeze(1)


def is_right(logits: Tensor, y: Tensor) -> Tensor:
    """Whether the largest logit is that of the right class, ``(batch,)``."""
    return logits.argmax(1) == y


def accuracy(right: Tensor) -> float:
    """Share of examples that are right."""
    return right.double().mean().item()


def balanced_accuracy(right: Tensor, y: Tensor) -> float:
    """Mean over the classes of the share of each that is right; classes without an example are left out.

    0.5 for a model of two classes that always says the same, however rare the other is.

    Example:
        >>> balanced_accuracy(torch.tensor([True, True, True, False]), torch.tensor([0, 0, 0, 1]))
        0.5
    """
    of_class = [right[y == cls].double().mean() for cls in y.unique()]
    return torch.stack(of_class).mean().item()


def standard_errors(better: Tensor, worse: Tensor) -> float:
    """How many standard errors one share of right answers lies above another on the same examples.

    The differences are taken example by example. Infinite where all of them are the same and not 0.
    """
    difference = better.double() - worse.double()
    mean = difference.mean().item()
    error = difference.std(correction=0).item() / len(difference) ** 0.5
    if error == 0.0:
        return 0.0 if mean == 0.0 else float("inf") * (1 if mean > 0 else -1)
    return mean / error
