"""What a model's answers are worth: accuracy, balanced accuracy, margins."""

import math

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


def chance_of_as_many(count: int, of: int, share: float) -> float:
    """Chance that a thing that happens in this share of all cases happens so often or more, of so many.

    Example:
        >>> round(1 / chance_of_as_many(8, 8, 0.5))
        256
    """
    if count <= 0:
        return 1.0
    ways = torch.arange(count, of + 1, dtype=torch.float64)
    others = of - ways
    logarithm = math.lgamma(of + 1) - torch.lgamma(ways + 1) - torch.lgamma(others + 1)
    logarithm += ways * math.log(share) + others * math.log1p(-share)
    return min(1.0, logarithm.logsumexp(0).exp().item())


def largest_plausible_share(count: int, of: int, doubt: float) -> float:
    """The share at which so few of so many, or fewer, would be seen with the chance ``doubt`` (Clopper & Pearson).

    Example:
        >>> round(largest_plausible_share(0, 50, 0.05), 4) == round(1 - 0.05 ** (1 / 50), 4)
        True
    """
    low, high = count / of, 1.0
    for _ in range(50 if count < of else 0):
        middle = (low + high) / 2
        few = 1 - chance_of_as_many(count + 1, of, middle)
        low, high = (middle, high) if few > doubt else (low, middle)
    return high
