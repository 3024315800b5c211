"""Locally connected layers as slow plain loops, and small random cases of them."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from biograd import layers


@dataclass(frozen=True)
class Case:
    """A shape that fits together: an input, and the arguments of the layer."""

    channels: int = 2
    outputs: int = 2
    size: tuple[int, ...] = (4, 3)
    kernel: tuple[int, ...] = (2, 3)
    batch: int = 2
    options: dict = field(default_factory=dict)

    @property
    def function(self) -> Callable[..., Tensor]:
        """The locally connected product over as many dimensions."""
        return getattr(layers, f"locally_connected{len(self.size)}d")

    @property
    def transpose(self) -> Callable[..., Tensor]:
        """Its transpose."""
        return getattr(layers, f"locally_connected_transpose{len(self.size)}d")

    def draw(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
        """Input, weight and bias."""
        groups = self.options.get("groups", 1)
        like = torch.empty(*(1 for _ in self.size), *self.kernel, 1, 1)
        positions = layers.Geometry.of(like, **self.options).output_size(self.size)
        x = torch.randn(self.batch, self.channels, *self.size, dtype=dtype)
        weight = torch.randn(*positions, *self.kernel, self.channels // groups, self.outputs, dtype=dtype)
        return x, weight, torch.randn(self.outputs, *positions, dtype=dtype)


CASES = {
    "plain": Case(),
    "strided": Case(size=(5, 6), options={"stride": (2, 3)}),
    "padded": Case(options={"padding": (2, 1)}),
    "same": Case(size=(3, 2), kernel=(2, 3), options={"padding": "same"}),
    "valid": Case(options={"padding": "valid"}),
    "dilated": Case(size=(4, 5), options={"dilation": (2, 3), "padding": 1}),
    "grouped": Case(channels=4, outputs=6, kernel=(2, 2), options={"groups": 2}),
    "depthwise": Case(channels=3, outputs=6, options={"groups": 3, "stride": 2, "padding": 1}),
    "one position": Case(size=(2, 3)),
    "kernel 1": Case(kernel=(1, 1), options={"stride": 2}),
    "rows that no filter sees": Case(size=(7, 7), kernel=(1, 1), options={"stride": 3}),
    "one dimension": Case(size=(8,), kernel=(3,), options={"padding": 1, "stride": 2, "dilation": 2}),
    "one dimension, grouped": Case(
        channels=4, outputs=6, size=(4,), kernel=(3,), options={"padding": "same", "groups": 2}
    ),
    "three dimensions": Case(
        outputs=3, size=(3, 4, 2), kernel=(2, 3, 1), options={"padding": (1, 0, 1), "stride": (2, 1, 2)}
    ),
    "three dimensions, dilated": Case(
        size=(5, 2, 3), kernel=(2, 1, 2), options={"dilation": (3, 1, 2), "groups": 2}
    ),
}


def product(x: Tensor, weight: Tensor, bias: Tensor | None, **options: object) -> Tensor:
    """``y[n, o, *position]``, one number of the sum at a time."""
    geometry = layers.Geometry.of(weight, **options)  # type: ignore[arg-type]
    n, (into, outputs) = geometry.dimensions, weight.shape[-2:]
    positions, kernel = weight.shape[:n], weight.shape[n : 2 * n]
    padded, per_group = F.pad(x, geometry.padding), outputs // geometry.groups
    y = x.new_zeros(len(x), outputs, *positions)
    y = y if bias is None else bias.expand_as(y).clone()
    for position in itertools.product(*map(range, positions)):
        for place in itertools.product(*map(range, kernel)):
            steps = zip(position, geometry.stride, place, geometry.dilation, strict=True)
            at = tuple(i * stride + a * dilation for i, stride, a, dilation in steps)
            for o in range(outputs):
                first = (o // per_group) * into
                seen = padded[:, first : first + into][(slice(None), slice(None), *at)]
                y[(slice(None), o, *position)] += (seen * weight[(*position, *place, slice(None), o)]).sum(1)
    return y
