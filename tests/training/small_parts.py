"""An optimiser and a schedule of a user's own that keep histories, and what is unset at first."""

import torch
from torch.optim.lr_scheduler import LRScheduler

from biograd.training.schedules import Schedule


class Remembers(torch.optim.SGD):
    """Counts steps in its groups, as optimisers do that find their own rate."""

    def __init__(self, parameters, *, lr: float = 0.1):
        super().__init__(parameters, lr=lr)
        self.param_groups[0].update(count=0, last=None)

    def step(self, closure=None):
        (group,) = self.param_groups
        group["count"] += 1
        group["last"] = group["lr"] / group["count"]
        super().step(closure)


class _Remembered(LRScheduler):
    def __init__(self, optimizer):
        self.past, self.best = [], None
        super().__init__(optimizer)

    def get_lr(self):
        self.past.append(self.last_epoch)
        self.best = max(self.past) / 2
        return [rate * 0.9 ** len(self.past) for rate in self.base_lrs]


def remembers(optimizer, epochs, epoch_steps):
    return Schedule(_Remembered(optimizer), "step", 1.0)
