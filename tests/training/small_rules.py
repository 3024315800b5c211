"""Rules for these tests, named to the configuration as path/to/small_rules.py:Name."""

import torch
from torch import nn

from biograd import Credit, Rule
from biograd.errors import NotFinite


class Mirrored(Rule):
    """Backpropagation, and beside it a layer of its own that learns to give the input back from the output."""

    def __init__(self, net: nn.Module, sample=None) -> None:
        super().__init__()
        outputs, inputs = list(net.parameters())[-1].shape[0], sample.flatten(1).shape[1]
        self.mirror = nn.Linear(outputs, inputs, dtype=sample.dtype)
        nn.init.constant_(self.mirror.weight, 0.1)
        nn.init.zeros_(self.mirror.bias)

    def assign_credit(self, net, x, y, loss_fn, *, weight=1.0):
        output = net(x)
        loss = loss_fn(output, y)
        self.teach(weight * loss, weight * (self.mirror(output.detach()) - x.flatten(1)).square().mean())
        return Credit(loss.detach(), output.detach())

    def teach(self, loss: torch.Tensor, own: torch.Tensor) -> None:
        (loss + own).backward()


class Alternating(Mirrored):
    """It teaches itself in epochs 0, 2, … and the net in epochs 1, 3, …"""

    epoch = 0

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def teach(self, loss: torch.Tensor, own: torch.Tensor) -> None:
        (loss if self.epoch % 2 else own).backward()


class Misbehaving(Mirrored):
    """Fails, but only in the second epoch."""

    epoch = 0

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def teach(self, loss: torch.Tensor, own: torch.Tensor) -> None:
        if self.epoch == 1:
            raise ValueError("no second epoch")
        super().teach(loss, own)


class Singular(Mirrored):
    """Meets numbers that are not finite in its third epoch."""

    epoch = 0

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def teach(self, loss: torch.Tensor, own: torch.Tensor) -> None:
        if self.epoch == 2:
            raise NotFinite("a weight is singular")
        super().teach(loss, own)


class Counts(Mirrored):
    """It teaches itself at every other step."""

    steps = 0

    def teach(self, loss: torch.Tensor, own: torch.Tensor) -> None:
        self.steps += 1
        (loss if self.steps % 2 else own).backward()


class Replaces(Mirrored):
    """Follows its loss by a new tensor a step."""

    def __init__(self, net: nn.Module, sample=None) -> None:
        super().__init__(net, sample)
        self.register_buffer("mean", torch.zeros(()))

    def teach(self, loss: torch.Tensor, own: torch.Tensor) -> None:
        self.mean = 0.9 * self.mean + loss.detach()
        (loss + own).backward()
