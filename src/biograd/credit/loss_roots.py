"""Where the backward of a whole net begins: at its loss, or at its output where each example has a weight."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from biograd.credit.chain.lesson import output_error
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


def loss_roots(output: Tensor, y: Tensor, loss_fn: Callable[..., Tensor], weighting: Weighting) -> LossRoots:
    """The loss of an output, and what the backward of the whole net begins at.

    Args:
        output: the net's output, ``(batch, …)``, with its graph.
        y: the targets.
        loss_fn: a differentiable scalar loss.
        weighting: what scales the call.
    """
    if not weighting.differs:
        loss = loss_fn(output, y)
        return LossRoots(
            loss, [loss], [None if weighting.is_one else weighting.of_all(torch.ones_like(loss))]
        )
    loss, error, penalty = output_error(output, y, loss_fn)
    if penalty is None:
        return LossRoots(loss, [output], [weighting.of(error)])
    of_penalty = weighting.of_all(torch.ones_like(loss))
    return LossRoots(loss, [output, penalty], [weighting.of(error), of_penalty])
