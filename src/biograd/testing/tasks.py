"""What a rule is checked on: small nets, and a teacher whose labels they can learn."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biograd.layers.local.locally_connected import LocallyConnected2d
from biograd.rules.base import Loss

Batch = Callable[[int, int], tuple[Tensor, Tensor]]
"""``batch(size, seed)`` gives inputs ``(size, …)`` and targets; the same ones for the same arguments."""


@dataclass(frozen=True)
class Task:
    """A net, what it is shown, and the loss of its answers.

    Attributes:
        net: makes the net; its initial weights come from the global random number generator.
        batch: makes a batch that the net takes.
        loss_fn: the loss of the net's output ``(batch, …)`` and the targets.
    """

    net: Callable[[], nn.Module]
    batch: Batch
    loss_fn: Loss = F.cross_entropy


def teacher(input_shape: tuple[int, ...], classes: int) -> Batch:
    """Normal inputs, labelled by a random net with one hidden layer that stays the same for every batch.

    Args:
        input_shape: shape of one input.
        classes: how many labels there are.

    Example:
        >>> x, y = teacher((3, 4, 4), 5)(2, 0)
        >>> x.shape, y.shape
        (torch.Size([2, 3, 4, 4]), torch.Size([2]))
    """
    features = torch.Size(input_shape).numel()
    generator = torch.Generator().manual_seed(2016)
    U = torch.randn(features, 16, generator=generator) / features**0.5
    V = torch.randn(16, classes, generator=generator)

    def batch(size: int, seed: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(size, *input_shape, generator=torch.Generator().manual_seed(seed))
        return x, (torch.tanh(x.flatten(1) @ U) @ V).argmax(1)

    return batch


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 4))


def _noisy() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(inplace=True), nn.Dropout(0.3)),
        *(nn.Linear(24, 24), nn.BatchNorm1d(24), nn.Tanh(), nn.Dropout(0.3)),
        nn.Linear(24, 4),
    )


def _convolutional() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3, padding="same", groups=2), nn.Tanh(), nn.Flatten()),
        nn.Linear(8 * 16, 4),
    )


def _locally_connected() -> nn.Module:
    return nn.Sequential(
        *(LocallyConnected2d(2, 4, 3, (8, 8), stride=2), nn.Tanh(), nn.Flatten()),
        *(nn.Linear(4 * 9, 16), nn.Tanh(), nn.Linear(16, 4)),
    )


MLP = Task(_mlp, teacher((12,), 4))
"""Two hidden layers of 24 units; without dropout or batch normalisation."""

NOISY = Task(_noisy, teacher((12,), 4))
"""`MLP` with batch normalisation, dropout and an in-place nonlinearity."""

CONVOLUTIONAL = Task(_convolutional, teacher((2, 8, 8), 4))
"""Two convolutions, the second one grouped, with batch normalisation and pooling."""

LOCALLY_CONNECTED = Task(_locally_connected, teacher((2, 8, 8), 4))
"""A locally connected layer and a hidden linear one."""
