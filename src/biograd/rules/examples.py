"""Small nets that rules teach, and a teacher whose labels they can learn: what the contract of a rule is checked on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biograd.layers import FirstUnits, InvertibleConv2d, LabelPlaces, LengthNorm, LocallyConnected2d

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
    loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy


@dataclass(frozen=True)
class Examples:
    """A net of each kind that a rule teaches, and what the rule is to reach on them.

    Attributes:
        tasks: by kind; ``mlp`` and the others are the same for the same weights and have a hidden layer, ``noisy`` has
            dropout, and buffers where the rule takes such.
        learning_rate: of Adam.
        falls_to: by kind, the share of its first value that the loss falls below within 150 steps; 0.6 unless given.
        draws: whether the rule draws random numbers from its setting ``seed`` under its default settings.
    """

    tasks: Mapping[str, Task]
    learning_rate: float = 0.01
    falls_to: Mapping[str, float] = field(default_factory=dict)
    draws: bool = True


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


def _examples(
    mlp: Callable[[], nn.Module],
    convolutional: Callable[[], nn.Module],
    locally_connected: Callable[[], nn.Module],
    noisy: Callable[[], nn.Module],
) -> Examples:
    vectors, images = teacher((12,), 4), teacher((2, 8, 8), 4)
    return Examples(
        {
            "mlp": Task(mlp, vectors),
            "convolutional": Task(convolutional, images),
            "locally-connected": Task(locally_connected, images),
            "noisy": Task(noisy, vectors),
        }
    )


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 4))


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


def _noisy() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(inplace=True), nn.Dropout(0.3)),
        *(nn.Linear(24, 24), nn.BatchNorm1d(24), nn.Tanh(), nn.Dropout(0.3)),
        nn.Linear(24, 4),
    )


CHAINS = _examples(_mlp, _convolutional, _locally_connected, _noisy)
"""Ordinary chains, with batch normalisation, pooling, groups and dropout."""


def _unit_by_unit() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(6, 8, 3, padding="same", groups=2)),
        *(nn.Tanh(), nn.Flatten(), nn.Linear(8 * 16, 4)),
    )


def _with_dropout() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(12, 24), nn.LeakyReLU(0.1, inplace=True), nn.Dropout(0.3), nn.Linear(24, 24), nn.Tanh()),
        *(nn.Dropout(0.3), nn.Linear(24, 4)),
    )


INVERTIBLE = _examples(_mlp, _unit_by_unit, _locally_connected, _with_dropout)
"""Chains whose nonlinearities can be undone unit by unit."""


def _orthogonal(*layers: nn.Module) -> nn.Module:
    """A chain whose weights are orthogonal, as matrices from a patch of the input to the outputs at one place."""
    for layer in layers:
        if isinstance(layer, LocallyConnected2d):
            for W in layer.weight.data.flatten(0, 1):
                nn.init.orthogonal_(W.view(-1, W.shape[-1]))
        elif isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(layer.weight)
    return nn.Sequential(*layers)


def _square_mlp() -> nn.Module:
    return _orthogonal(
        *(nn.Linear(12, 24), nn.LeakyReLU(0.5), nn.Linear(24, 24), nn.LeakyReLU(0.5)),
        *(nn.Linear(24, 24), FirstUnits(4)),
    )


def _square_convolutional() -> nn.Module:
    return _orthogonal(
        *(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.LeakyReLU(0.5), InvertibleConv2d(3, 2, stride=2)),
        *(nn.LeakyReLU(0.5), FirstUnits(6), nn.Flatten(), nn.Linear(24, 24), FirstUnits(4)),
    )


def _square_locally_connected() -> nn.Module:
    return _orthogonal(
        *(LocallyConnected2d(2, 3, 3, (8, 8), stride=2, padding=1), nn.LeakyReLU(0.5)),
        *(LocallyConnected2d(3, 12, 2, (4, 4), stride=2), nn.LeakyReLU(0.5), FirstUnits(6), nn.Flatten()),
        *(nn.Linear(24, 24), FirstUnits(4)),
    )


SQUARE = _examples(_square_mlp, _square_convolutional, _square_locally_connected, _square_mlp)
"""Chains of square orthogonal layers, which can be undone as a whole."""


def _weights_alone() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(12, 24, bias=False), nn.Tanh(), nn.Linear(24, 24, bias=False), nn.Tanh()),
        nn.Linear(24, 4),
    )


def _convolutional_weights_alone() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.Tanh(), nn.MaxPool2d(2)),
        *(nn.BatchNorm2d(6, affine=False), nn.Conv2d(6, 8, 3, padding="same", groups=2, bias=False)),
        *(nn.Tanh(), nn.Flatten(), nn.Linear(8 * 16, 4)),
    )


def _locally_connected_weights_alone() -> nn.Module:
    return nn.Sequential(
        *(LocallyConnected2d(2, 4, 3, (8, 8), stride=2, bias=False), nn.Tanh(), nn.Flatten()),
        *(nn.Linear(4 * 9, 16, bias=False), nn.Tanh(), nn.Linear(16, 4)),
    )


def _noisy_weights_alone() -> nn.Module:
    return nn.Sequential(
        *(nn.BatchNorm1d(12, affine=False), nn.Linear(12, 24, bias=False), nn.ReLU(inplace=True)),
        *(nn.BatchNorm1d(24, affine=False), nn.Dropout(0.3), nn.Linear(24, 24, bias=False), nn.Tanh()),
        *(nn.Dropout(0.3), nn.Linear(24, 4)),
    )


WEIGHTS_ALONE = _examples(
    _weights_alone, _convolutional_weights_alone, _locally_connected_weights_alone, _noisy_weights_alone
)
"""Chains whose hidden layers have weights and nothing else that learns."""


def _labelled() -> nn.Module:
    return nn.Sequential(
        *(LabelPlaces(4), nn.Linear(16, 24), nn.ReLU(), LengthNorm(), nn.Linear(24, 24), nn.ReLU()),
        nn.Linear(24, 4),
    )


def _labelled_convolutional() -> nn.Module:
    return nn.Sequential(
        *(LabelPlaces(4, overwrite=True), nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.MaxPool2d(2), LengthNorm(), nn.Conv2d(6, 8, 3, padding="same", groups=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(8 * 16, 4)),
    )


def _labelled_locally_connected() -> nn.Module:
    return nn.Sequential(
        *(LabelPlaces(4, overwrite=True), LocallyConnected2d(2, 4, 3, (8, 8), stride=2), nn.ReLU()),
        *(LengthNorm(), nn.Flatten(), nn.Linear(4 * 9, 16), nn.ReLU(), nn.Linear(16, 4)),
    )


def _labelled_noisy() -> nn.Module:
    return nn.Sequential(
        *(LabelPlaces(4), nn.Linear(16, 24), nn.BatchNorm1d(24), nn.ReLU(inplace=True), nn.Dropout(0.3)),
        *(LengthNorm(), nn.Linear(24, 24), nn.BatchNorm1d(24), nn.Tanh(), nn.Dropout(0.3), nn.Linear(24, 4)),
    )


LABELLED = _examples(_labelled, _labelled_convolutional, _labelled_locally_connected, _labelled_noisy)
"""Chains with places for labels in their input and normalised lengths between blocks."""
