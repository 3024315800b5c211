"""The products of a locally connected layer one position at a time, by oneDNN where it is faster.

A position's patch then stays in the second-level cache.
"""

import torch
from torch import Tensor

from biograd.layers.local import onednn
from biograd.layers.local.geometry import Geometry
from biograd.layers.local.memory import channels_last, pad, windows


def is_faster(like: Tensor, w: Tensor, shape: Geometry) -> bool:
    """Whether the functions of this module should be used for ``like``, a map, and filters ``w``: they can if so."""
    can = (
        onednn.is_faster() and like.device.type == "cpu" and like.dtype == torch.float32 and shape.groups == 1
    )
    return can and w.shape[shape.dimensions :].numel() * len(like) >= onednn.LARGE


def product(x: Tensor, w: Tensor, bias: Tensor | None, shape: Geometry, out: Tensor) -> None:
    """Fill ``out``, ``(*positions, out_channels, batch)``."""
    n = shape.dimensions
    seen = windows(pad(channels_last(x), shape), shape)
    filters, outputs = _each(w, n), _each(out, n)
    biases = [None] * len(filters) if bias is None else bias.flatten(1).t().contiguous().unbind()
    for window, matrix, b, target in zip(_each(seen, n), filters, biases, outputs, strict=True):
        patch = window.movedim(-1, 0).reshape(window.shape[-1], -1)  # (batch, fan_in)
        target.copy_(onednn.linear(patch, matrix.flatten(0, -2).t(), b).t())


def add_input_gradient(signal: Tensor, w: Tensor, shape: Geometry, to: Tensor) -> None:
    """Add to the windows ``to`` of the gradient; ``signal`` is ``(*positions, out_channels, batch)``."""
    n = shape.dimensions
    for window, matrix, signals in zip(_each(to, n), _each(w, n), _each(signal, n), strict=True):
        window.add_(onednn.linear(matrix.flatten(0, -2), signals.t().contiguous()).view(window.shape))


def weight_gradient(seen: Tensor, signal: Tensor, shape: Geometry, out: Tensor) -> None:
    """Fill ``out``, shaped as the filters, from the windows ``seen`` of the input."""
    n = shape.dimensions
    for window, signals, target in zip(_each(seen, n), _each(signal, n), _each(out, n), strict=True):
        patch = window.reshape(-1, window.shape[-1])  # (fan_in, batch)
        target.copy_(onednn.linear(patch, signals.contiguous()).view(target.shape))


def _each(of_positions: Tensor, dimensions: int) -> list[Tensor]:
    """What belongs to each position, from ``(*positions, …)``."""
    found = [of_positions]
    for _ in range(dimensions):
        found = [part for whole in found for part in whole.unbind()]
    return found
