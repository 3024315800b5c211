"""Rules that teach each block during the forward pass, from what it has at hand, and then let go of it."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block, run_layers, spared
from biograd.credit.chain.ledger import collect, deliver
from biograd.credit.fused import fused_linear, has_hooks
from biograd.rules.base import Credit, Loss
from biograd.rules.block_rule import output_error
from biograd.rules.blockwise import Blockwise


@dataclass(frozen=True)
class Moment:
    """All that a block has at hand when it is taught.

    Attributes:
        index: of the block, from 0.
        block: of the net.
        input: h, what the opening layer got; detached, but in a first block with layers that learn before it.
        drive: z, ``(batch, …)``, what the nonlinearity is going to get: what the opening layer gave, normalised
            where a normalisation stands right behind it. Its graph ends at the block's input.
        y: the targets.
    """

    index: int
    block: Block
    input: Tensor
    drive: Tensor
    y: Tensor


class LocalRule(Blockwise):
    r"""A signal for the drive :math:`z_l` of each hidden block, as soon as it is there.

    A block's gradients are made of its input, its drive and the targets, before the next block runs; its activations
    are then let go, so that their memory does not grow with depth. The last block is told the exact derivative of
    the loss. Normalisations behind a nonlinearity keep their scale and shift.

    Arguments and errors as in `Blockwise`.
    """

    @property
    def teaches_output(self) -> bool:
        """Whether the last block is taught at this time; rules that take turns say no for a while."""
        return True

    @abstractmethod
    def drive_signal(self, moment: Moment) -> Tensor:
        """The derivative that the drive is told, in its shape; called without recording gradients."""

    def block_gradients(self, moment: Moment, parameters: list[nn.Parameter]) -> Sequence[Tensor | None]:
        """Gradients of some parameters of a hidden block, each in its parameter's shape; None for none."""
        with torch.no_grad():
            signal = self.drive_signal(moment)
            if _is_plain_linear(moment):
                return [_linear_gradient(moment, parameter, signal) for parameter in parameters]
        return torch.autograd.grad(moment.drive, parameters, signal, allow_unused=True)

    def assign_credit(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Credit:
        """See `Rule.assign_credit`; what ``loss_fn`` itself makes of parameters (a penalty) keeps its derivative."""
        *hidden, last = self.chain(net)
        gradients: dict[nn.Parameter, Tensor] = {}
        for index, block in enumerate(hidden):
            x = self._pass(index, block, x.detach(), y, gradients)
        with torch.set_grad_enabled(self.teaches_output):
            output = last(spared(last, x.detach()))
        loss, error, penalty = output_error(output, y, loss_fn)
        deliver(gradients, (output, error), (penalty, None))
        return Credit(loss, output.detach())

    def carry_to_input(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Tensor:
        """See `Rule.input_gradient`: what the first block's drive is told, through the layers that make it.

        A net of one block has no other signal than the derivative of the loss.
        """
        first, *others = self.chain(net)
        if not others:
            loss = loss_fn(first(spared(first, x.requires_grad_())), y)
            return torch.autograd.grad(loss, x)[0]
        h = run_layers(first.leading, spared(first, x.requires_grad_()))
        drive = run_layers(first.driving[len(first.leading) :], h)
        with torch.no_grad():
            signal = self.drive_signal(Moment(0, first, h, drive, y))
        return torch.autograd.grad(drive, x, signal)[0]

    def _pass(
        self, index: int, block: Block, x: Tensor, y: Tensor, gradients: dict[nn.Parameter, Tensor]
    ) -> Tensor:
        """The output of a block, which adds to the gradients on the way."""
        parameters = [p for layer in block.driving for p in layer.parameters() if p.requires_grad]
        with torch.set_grad_enabled(bool(parameters)):
            x = run_layers(block.leading, spared(block, x))
            drive = run_layers(block.driving[len(block.leading) :], x)
        if parameters:
            found = self.block_gradients(Moment(index, block, x, drive, y), parameters)
            collect(gradients, parameters, found)
        with torch.no_grad():
            return run_layers(block.firing, drive.detach())


def _is_plain_linear(moment: Moment) -> bool:
    """Whether the drive is what one linear layer made of the input, and nothing else in the block learns."""
    opening, driving = moment.block.opening, moment.block.driving
    if type(opening) is not nn.Linear or driving[-1] is not opening or has_hooks(opening):
        return False
    return not moment.input.requires_grad and moment.drive.dtype == moment.input.dtype == opening.weight.dtype


def _linear_gradient(moment: Moment, parameter: nn.Parameter, signal: Tensor) -> Tensor | None:
    """What autograd would give, by the faster of PyTorch's products."""
    opening = moment.block.opening
    rows = signal.reshape(-1, signal.shape[-1])  # (batch · positions, out)
    if parameter is opening.bias:
        return rows.sum(0)
    if parameter is opening.weight:
        return fused_linear(rows.t(), moment.input.reshape(len(rows), -1).t())
    return None
