"""The losses that a run can be trained and judged by, each averaged over the batch."""

from collections.abc import Callable
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

Name = Literal["cross-entropy", "squared-error"]


def names() -> list[str]:
    """The names of every loss."""
    return list(get_args(Name))


def find(name: Name) -> Callable[[Tensor, Tensor], Tensor]:
    """The function ``loss_fn(output, y)`` that a name stands for."""
    return {"cross-entropy": F.cross_entropy, "squared-error": squared_error}[name]


def squared_error(output: Tensor, y: Tensor) -> Tensor:
    r"""Squared distance of the output from the one-hot label, averaged over the batch of B examples.

    .. math:: L = \frac{1}{B} \sum_b \sum_k (o_{bk} - [y_b = k])^2

    Its derivative by an output is :math:`2 (o - [y = k]) / B`: the sum over classes is not divided by their
    number, as ``nn.functional.mse_loss`` would, nor halved. Outputs in half precision are summed in float32.

    Args:
        output: ``(batch, classes)``.
        y: the labels, ``(batch,)``, of any whole or boolean type.

    Example:
        >>> import torch
        >>> squared_error(torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.tensor([0, 0]))
        tensor(2.)
    """
    wide = output if output.dtype.itemsize >= 4 else output.float()
    return (wide - F.one_hot(y.long(), wide.shape[1])).square().sum(1).mean()
