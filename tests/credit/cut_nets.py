"""Nets that are no chains, to be cut at named modules."""

import torch
from torch import Tensor, nn


class Unit(nn.Module):
    """``x + b(tanh(a(norm(x))))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.a, self.b = (
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(torch.tanh(self.a(self.norm(x))))


class Tokens(nn.Module):
    """Embedding, residual units, pooling over tokens in the forward, head: (batch, 4, 5) to (batch, 3)."""

    def __init__(self, depth: int = 2, width: int = 6) -> None:
        super().__init__()
        self.embed = nn.Linear(5, width)
        self.positions = nn.Parameter(torch.randn(1, 4, width) / 10)
        self.layers = nn.ModuleList(Unit(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(1))


CUTS = ("embed", "layers.*", "head")


class Steps(nn.Module):
    """Parts in a forward of its own, which is given: ``steps(parts, x)``."""

    def __init__(self, steps, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self, x)


def linear() -> nn.Linear:
    return nn.Linear(4, 4)


def task(net: nn.Module, *shape: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The net in float64, a batch of 6 and its labels."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, *shape, generator=generator, dtype=torch.float64)
    return net.double(), x, torch.tensor([0, 1, 2, 0, 1, 2])
