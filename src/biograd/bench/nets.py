"""The nets that step times are measured on, with their batches."""

from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from biograd import nets, rules
from biograd.bench.locally_connected import NAME
from biograd.errors import UserMistake


@dataclass(frozen=True)
class BenchNet:
    """A net and the batch it is timed with.

    Attributes:
        name: as it appears in the rows.
        net: its name in `biograd.nets`.
        input_shape: shape of one example.
        batch: examples in a step.
        settings: the net's own settings.
        outputs: number of classes.
        rules: what is measured on it when no rules are named; None for every registered rule.
        inside: the setting of this name of rules for chains, whose blocks have several weight layers here.
        repeats: turns a rule unless told otherwise; fewer where steps are long, and noise a smaller part of them.
    """

    name: str
    net: str
    input_shape: tuple[int, ...]
    batch: int
    settings: dict[str, Any] = field(default_factory=dict)
    outputs: int = 10
    rules: tuple[str, ...] | None = None
    inside: str | None = None
    repeats: int = 30

    def settings_of(self, rule: str) -> dict[str, Any]:
        """The settings that a rule needs to teach the net."""
        takes_it = "inside" in signature(rules.REGISTRY.find(rule)).parameters
        return {"inside": self.inside} if self.inside and takes_it else {}

    def make(self, seed: int) -> tuple[nn.Module, Tensor, Tensor]:
        """The net in training mode, normal inputs ``(batch, …)`` and random classes ``(batch,)``."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(self.batch, *self.input_shape, generator=generator)
        y = torch.randint(self.outputs, (self.batch,), generator=generator)
        return nets.create(self.net, self.input_shape, self.outputs, seed=seed, **self.settings), x, y


BENCH_NETS = {
    bench_net.name: bench_net
    for bench_net in (
        BenchNet("mlp", "mlp", (784,), 128, {"widths": (1024, 1024, 1024)}),
        BenchNet("convnet", "convnet", (3, 32, 32), 128, repeats=20),
        BenchNet("resnet20", "resnet20", (3, 32, 32), 128, inside="exact", repeats=10),
        BenchNet("bartunov-mnist-fc", "bartunov-mnist-fc", (1, 28, 28), 128),
        BenchNet(
            "square",
            "square",
            (1024,),
            128,
            {"hidden": 4, "width": 1024},
            rules=("bp", "fa", "dfa", "dtp", "itp", "gait-prop"),
        ),
    )
}
"""MLP 784-3×1024-10; convolutional net 3-32-64-128; ResNet-20 for 32×32; MLP 784-5×256-10; five square layers."""


def find(name: str) -> BenchNet:
    """The benchmark net of this name.

    Raises:
        UserMistake: there is none.
    """
    if name not in BENCH_NETS:
        raise UserMistake(f"unknown benchmark net {name!r}: known are {', '.join(BENCH_NETS)}, {NAME}")
    return BENCH_NETS[name]
