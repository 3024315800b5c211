"""The products of a locally connected layer one position at a time, by oneDNN where it is faster.

A position's patch then stays in the second-level cache.
"""

import torch
from torch import Tensor

from biograd.layers.local import onednn
from biograd.layers.local.geometry import Geometry
from biograd.layers.local.memory import channels_last, pad, windows


def is_faster(like: Tensor, w: Tensor, batch: int, shape: Geometry) -> bool:
    """Whether the functions of this module should be used for filters ``w``: they can if so."""
    can = (
        onednn.is_faster() and like.device.type == "cpu" and like.dtype == torch.float32 and shape.groups == 1
    )
    return can and w[0, 0].numel() * batch >= onednn.LARGE


def product(x: Tensor, w: Tensor, bias: Tensor | None, shape: Geometry, out: Tensor) -> None:
    """Fill ``out``, ``(rows, columns, out_channels, batch)``."""
    seen = windows(pad(channels_last(x), shape), shape)
    biases = [None] * (len(w) * w.shape[1]) if bias is None else bias.flatten(1).t().contiguous().unbind()
    for window, filters, b, target in zip(_each(seen), _each(w), biases, _each(out), strict=True):
        patch = window.movedim(-1, 0).reshape(window.shape[-1], -1)  # (batch, fan_in)
        target.copy_(onednn.linear(patch, filters.flatten(0, 2).t(), b).t())


def add_input_gradient(signal: Tensor, w: Tensor, shape: Geometry, to: Tensor) -> None:
    """Add to the windows ``to`` of the gradient; ``signal`` is ``(rows, columns, out_channels, batch)``."""
    for window, filters, signals in zip(_each(to), _each(w), _each(signal), strict=True):
        window.add_(onednn.linear(filters.flatten(0, 2), signals.t().contiguous()).view(window.shape))


def weight_gradient(seen: Tensor, signal: Tensor, shape: Geometry, out: Tensor) -> None:
    """Fill ``out``, shaped as the filters, from the windows ``seen`` of the input."""
    for window, signals, target in zip(_each(seen), _each(signal), _each(out), strict=True):
        patch = window.reshape(-1, window.shape[-1])  # (fan_in, batch)
        target.copy_(onednn.linear(patch, signals.contiguous()).view(target.shape))


def _each(positions: Tensor) -> tuple[Tensor, ...]:
    """What belongs to each position, from ``(rows, columns, …)``."""
    return tuple(position for row in positions.unbind() for position in row.unbind())
