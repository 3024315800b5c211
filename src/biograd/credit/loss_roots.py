"""Where the backward of a whole net begins: at its loss, or at its output where each example has a weight."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from biograd.credit.chain.lesson import output_errors
from biograd.credit.weighting import Weighting


class LossRoots(NamedTuple):
    """What a backward begins at.

    Attributes:
        loss: the loss; its graph may end at the output.
        tensors: what the backward begins at.
        derivatives: by each of them; None for 1.
    """

    loss: Tensor
    tensors: list[Tensor]
    derivatives: list[Tensor | None]


def loss_roots(output: Any, y: Any, loss_fn: Callable[..., Tensor], weighting: Weighting) -> LossRoots:
    """The loss of an output, and what the backward of the whole net begins at.

    Args:
        output: the net's output, ``(batch, …)``, or a structure of such tensors, with its graph.
        y: the targets.
        loss_fn: a differentiable scalar loss.
        weighting: what scales the call.

    Raises:
        UserMistake: examples have weights of their own, and the loss reads an output that has none of them.
    """
    if not weighting.differs:
        loss = loss_fn(output, y)
        return LossRoots(
            loss, [loss], [None if weighting.is_one else weighting.of_all(torch.ones_like(loss))]
        )
    loss, read, penalty = output_errors(output, y, loss_fn)
    pairs = [(tensor, weighting.of(error)) for tensor, error in read if tensor.requires_grad]
    if penalty is not None:
        pairs.append((penalty, weighting.of_all(torch.ones_like(loss))))
    return LossRoots(loss, [tensor for tensor, _ in pairs], [derivative for _, derivative in pairs])
