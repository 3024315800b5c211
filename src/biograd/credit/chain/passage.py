"""A batch's way through one block: in one graph that ends at the block's input, or by hand."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from biograd.credit.by_hand.unit import Trace
from biograd.credit.feedback.loan import Loan


@dataclass(frozen=True)
class Passage:
    """A batch's way through one block, in one graph that ends at the block's input, or by hand.

    Attributes:
        entry: the block's input, detached; signals go back to it, except in the first block, where it may be any
            structure of tensors.
        input: what the opening layer got: the entry, after the layers that lead the block.
        drive: what the opening layer gave; by hand the output, which tells its derivative.
        output: what the block gave.
        loan: what stands for the weights inside on the way back, where the block is passed as a whole: its input is the
            entry then, and its drive the output.
        trace: what leads back where there is no graph, else None.
    """

    entry: Any
    input: Any
    drive: Tensor
    output: Tensor
    loan: Loan | None = None
    trace: Trace | None = None

    def bare_drive(self) -> Tensor:
        """What the opening layer gave, without its graph; by hand it is computed anew."""
        return self.drive.detach() if self.trace is None else self.trace.drive_anew()

    def drive_signal(self, signal: Tensor) -> Tensor:
        """A signal at the output, carried back to the drive through the layers between."""
        if self.trace is not None:
            return self.trace.drive_signal(signal)
        if self.drive is self.output:
            return signal
        return torch.autograd.grad(self.output, self.drive, signal, retain_graph=True)[0]

    def entry_signal(self, signal: Tensor) -> Tensor:
        """A signal at the opening layer's input, carried back to the block's input through the layers that lead it."""
        if self.trace is not None:
            return self.trace.entry_signal(signal)
        if self.input is self.entry:
            return signal
        return torch.autograd.grad(self.input, self.entry, signal, retain_graph=True)[0]

    def carried(self, signal: Tensor, loan: Loan) -> Tensor:
        """A signal at the output of a block that is passed as a whole, carried to the entry through what is lent."""
        with loan.in_force():
            return torch.autograd.grad(self.output, self.entry, signal, retain_graph=True)[0]

    def carried_exactly(self, signal: Tensor) -> Tensor:
        """A signal at the output, carried back to the block's input through the block's own weights."""
        if self.trace is None:
            return torch.autograd.grad(self.output, self.entry, signal, retain_graph=True)[0]
        e, _ = self.trace.carried(self.trace.drive_signal(signal), self.trace.call.weight, teaches=False)
        assert e is not None
        return e
