"""Nets whose weights are penalised, and how the matrices of each weight are read from it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from biograd import nets
from biograd.layers import FirstUnits, InvertibleConv2d, LocallyConnected2d


class Case(NamedTuple):
    """A net and, for each weight that has a part, what makes matrices ``(…, fan_in, out)`` of it."""

    net: Any
    matrices: dict[str, Callable[[Tensor], Tensor]]


def flat(w: Tensor) -> Tensor:
    """The matrix of a linear layer or a convolution."""
    return w.flatten(1).T


def by_position(w: Tensor) -> Tensor:
    """One a position, of a locally connected layer."""
    return w.flatten(2, 4)


def square() -> Case:
    """A chain of square layers, the first too."""
    net = nets.create("square", (6,), 3, hidden=3, seed=0).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.3)
    return Case(net, {f"{place}.weight": flat for place in (0, 2, 4, 6)})


def images() -> Case:
    """A chain of convolutional, locally connected and linear layers, the first not square."""
    torch.manual_seed(2)
    net = nn.Sequential(
        *(nn.Conv2d(1, 2, 3), nn.LeakyReLU(0.1), InvertibleConv2d(2, 2, stride=2), nn.LeakyReLU(0.1)),
        *(FirstUnits(2), LocallyConnected2d(2, 5, 2, (3, 3)), nn.LeakyReLU(0.1), FirstUnits(3)),
        *(nn.Flatten(), nn.Linear(12, 12), FirstUnits(3)),
    ).double()
    return Case(net, {"2.weight": flat, "5.weight": by_position, "9.weight": flat})


def grouped() -> Case:
    """A convolution in groups has a matrix a group."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv1d(4, 4, 3), nn.Tanh(), nn.Conv1d(4, 6, 3, groups=2)).double()
    return Case(net, {"2.weight": lambda w: w.view(2, 3, -1).mT})


class Branching(nn.Module):
    """No chain: a skip connection, a normalisation, an embedding and two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.body = nn.Linear(4, 4)
        self.again = nn.Linear(4, 4)
        self.again.weight = self.body.weight
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).mean(1)
        return self.head(h + self.again(self.norm(self.body(h))))


def branching() -> Case:
    """The embedding is the first layer with weights, and has no matrix."""
    torch.manual_seed(4)
    return Case(Branching().double(), {"body.weight": flat, "head.weight": flat})


def resnet() -> Case:
    """Any architecture: every convolution but the first, and the last layer."""
    net = nets.create("resnet20", (3, 32, 32), 10, seed=0).double()
    names = [name for name, p in net.named_parameters() if p.dim() >= 2]
    return Case(net, dict.fromkeys(names[1:], flat))


ALL = [square, images, grouped, branching, resnet]


def fill(net: nn.Module, value: float = 0.0) -> dict[str, Tensor]:
    """Give every parameter a gradient, as a rule that teaches all of them does, and return copies."""
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, value)
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
