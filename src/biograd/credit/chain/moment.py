"""A block at the moment when its drive is computed, and gradients from a derivative at that drive."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from biograd.credit.by_hand.unit import Trace
from biograd.credit.chain.blocks import Block
from biograd.credit.weighting import UNWEIGHTED, Weighting


class Aim(NamedTuple):
    """What a loss asks of the examples of a batch, known before their outputs are.

    Attributes:
        y: the targets.
        target: distributions over the classes that a rule made of them, ``(batch, classes)``; None where it made none,
            as plain labels that all count say it themselves.
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
            normalisation stands right behind it. Its graph ends at the block's input; where there is a trace it has
            none.
        aim: what the loss asks of the examples.
        weighting: what scales the derivatives at the drive.
        trace: what gives the gradients of parameters by hand, else None; see `gradients_of_drive`.
    """

    index: int
    block: Block
    input: Tensor
    drive: Tensor
    aim: Aim
    weighting: Weighting = UNWEIGHTED
    trace: Trace | None = None

    @classmethod
    def of(cls, index: int, block: Block, trace: Trace, aim: Aim, weighting: Weighting) -> "Moment":
        """That of a block whose derivatives are known, before it fires."""
        return cls(index, block, trace.input, trace.output, aim, weighting, trace)


def gradients_of_drive(
    moment: Moment, parameters: list[nn.Parameter], signal: Tensor
) -> Sequence[Tensor | None]:
    """Gradients of some parameters of a block from the derivative at its drive, scaled by the call's weight."""
    signal = moment.weighting.of(signal)
    if moment.trace is None:
        return torch.autograd.grad(moment.drive, parameters, signal, allow_unused=True)
    found = zip(moment.trace.unit.parameters, moment.trace.gradients(signal), strict=True)
    gradients = {id(parameter): gradient for parameter, gradient in found}
    return [gradients.get(id(parameter)) for parameter in parameters]
