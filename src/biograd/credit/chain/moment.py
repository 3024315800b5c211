"""A block at the moment when its drive is computed, and gradients from a derivative at that drive."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block
from biograd.credit.weighting import UNWEIGHTED, Weighting


class Aim(NamedTuple):
    """What a loss asks of the examples of a batch, known before their outputs are.

    Attributes:
        y: the targets.
        target: distributions over the classes that a rule made of them, ``(batch, classes)``, or None.
        importance: how much each example counts, ``(batch,)``, 1 on average; None where all count alike.
    """

    y: Tensor
    target: Tensor | None = None
    importance: Tensor | None = None


@dataclass(frozen=True)
class Moment:
    """All that a block has at hand when it is taught.

    Attributes:
        index: of the block, from 0.
        block: of the net.
        input: h, what the opening layer got; detached, except in a first block where a layer before it learns.
        drive: z, ``(batch, …)``, the input of the nonlinearity: the opening layer's output, normalised where a
            normalisation stands right behind it. Its graph ends at the block's input.
        aim: what the loss asks of the examples.
        weighting: what scales the derivatives at the drive.
    """

    index: int
    block: Block
    input: Tensor
    drive: Tensor
    aim: Aim
    weighting: Weighting = UNWEIGHTED


def gradients_of_drive(
    moment: Moment, parameters: list[nn.Parameter], signal: Tensor
) -> Sequence[Tensor | None]:
    """Gradients of some parameters of a block from the derivative at its drive, scaled by the call's weight."""
    signal = moment.weighting.of(signal)
    if _is_plain_linear(moment):
        with torch.no_grad():
            return [_linear_gradient(moment, parameter, signal) for parameter in parameters]
    return torch.autograd.grad(moment.drive, parameters, signal, allow_unused=True)


def _is_plain_linear(moment: Moment) -> bool:
    """Whether the drive is what one linear layer made of the input, and nothing else in the block learns."""
    opening, driving = moment.block.opening, moment.block.driving
    if type(opening) is not nn.Linear or driving[-1] is not opening or _has_hooks(opening):
        return False
    return not moment.input.requires_grad and moment.drive.dtype == moment.input.dtype == opening.weight.dtype


def _has_hooks(layer: nn.Module) -> bool:
    """Whether a layer is more than its forward."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def _linear_gradient(moment: Moment, parameter: nn.Parameter, signal: Tensor) -> Tensor | None:
    """What autograd would give."""
    opening = moment.block.opening
    rows = signal.reshape(-1, signal.shape[-1])  # (batch · positions, out)
    if parameter is opening.bias:
        return rows.sum(0)
    if parameter is opening.weight:
        return rows.t() @ moment.input.reshape(len(rows), -1)
    return None
