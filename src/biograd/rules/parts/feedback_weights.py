"""Feedback weights: how they are drawn, at the scale of the weights they stand for, and where a rule keeps them."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from biograd.credit.feedback import patterns
from biograd.credit.wrappers import unwrap
from biograd.layers.local.own_filters import layout_of
from biograd.layers.weight_layout import OUTPUTS_FIRST
from biograd.rules.parts.random_stream import RandomStream
from biograd.settings import Meaning

Distribution = Annotated[Literal["uniform", "normal"], Meaning("what random weights are drawn from")]
ExactNames = Annotated[
    tuple[str, ...],
    Meaning("names of parameters, buffers or modules that keep their exact derivative, or patterns: ``h.*``"),
]
Attention = Annotated[
    patterns.Attention,
    Meaning(
        "what errors pass in attention: queries, keys and values exactly, or with ``pattern`` values alone, so that "
        "queries and keys learn nothing from the output"
    ),
]
Seed = Annotated[int, Ge(0), Meaning("of all that is drawn")]


class WeightTable(nn.Module):
    """Tensors by the names of a net's parameters, as buffers or as parameters.

    Args:
        tensors: name to tensor; a name may hold dots, which PyTorch keeps for itself.
        learned: whether the tensors are parameters.
    """

    def __init__(self, tensors: Mapping[str, Tensor], *, learned: bool = False) -> None:
        super().__init__()
        self._slots = {name: _slot(name) for name in tensors}
        for name, tensor in tensors.items():
            if learned:
                self.register_parameter(_slot(name), nn.Parameter(tensor))
            else:
                self.register_buffer(_slot(name), tensor)

    def __getitem__(self, name: str) -> Tensor:
        return getattr(self, _slot(name))

    def by_name(self) -> dict[str, Tensor]:
        """Name to tensor."""
        held: dict[str, Any] = (
            self._parameters or self._buffers
        )  # without the look-ups of attributes of a module
        return {name: held[slot] for name, slot in self._slots.items()}


def _slot(name: str) -> str:
    return name.replace(".", ":")


def spreads(net: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, float]:
    """RMS of each weight of a net; of an all-zero one, that of PyTorch's default initialisation, 1/√(3·fan-in)."""
    layouts = {f"{name}.weight".lstrip("."): layout_of(layer) for name, layer in unwrap(net).named_modules()}
    found = {name: weight.detach().square().mean().sqrt().item() for name, weight in weights.items()}
    return {
        name: rms if rms > 0 else 1 / math.sqrt(3 * layouts.get(name, OUTPUTS_FIRST).fan_in(weights[name]))
        for name, rms in found.items()
    }


def draw_beside(
    net: nn.Module,
    weights: Mapping[str, Tensor],
    scale: float,
    distribution: Distribution,
    stream: RandomStream,
) -> dict[str, Tensor]:
    """A feedback weight for every weight, drawn on the CPU so that it is the same whatever the device.

    Args:
        net: that has them.
        weights: name to weight.
        scale: standard deviation in units of the RMS of each weight.
        distribution: see `draw_like`.
        stream: what they are drawn from, one after another.
    """
    return {
        name: draw_like(weights[name], scale * spread, distribution, stream.next("cpu"))
        for name, spread in spreads(net, weights).items()
    }


def draw_like(
    weight: Tensor, scale: float | Tensor, distribution: Distribution, generator: torch.Generator
) -> Tensor:
    """Zero-mean random numbers in a weight's shape, dtype and device, with standard deviation ``scale``.

    Args:
        weight: whose shape, dtype and device to take.
        scale: standard deviation.
        distribution: uniform on ±√3·scale, or normal.
        generator: on the weight's device, or on the CPU to have the same numbers whatever the device.
    """
    place = {"dtype": weight.dtype, "device": generator.device, "generator": generator}
    if distribution == "normal":
        drawn = torch.randn(weight.shape, **place).mul_(scale)
    else:
        drawn = torch.rand(weight.shape, **place).mul_(2).sub_(1).mul_(scale * math.sqrt(3))
    return drawn.to(weight.device)
