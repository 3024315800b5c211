"""The products of a locally connected layer by PyTorch's own matrix product, one row of positions at a time.

No more than one row's patches exist at a time, in one buffer that stays in the cache.
"""

import torch
from torch import Tensor

from biograd.layers.local.geometry import Geometry
from biograd.layers.local.memory import batch_last, pad, windows


def product(x: Tensor, w: Tensor, bias: Tensor | None, shape: Geometry, out: Tensor) -> None:
    """Fill ``out``, ``(rows, columns, out_channels, batch)``."""
    seen = windows(pad(batch_last(x), shape), shape)
    buffer, patches = _patches(seen, shape)
    biases = [None] * len(w) if bias is None else _signals(bias.permute(1, 2, 0).unsqueeze(3), shape)
    for row, filters, b, outputs in zip(
        seen, _filters(w, shape).mT, biases, _signals(out, shape), strict=True
    ):
        buffer.copy_(row)
        _multiply(filters, patches, outputs, b)


def add_input_gradient(signal: Tensor, w: Tensor, shape: Geometry, to: Tensor) -> None:
    """Add to the windows ``to`` of the gradient; ``signal`` is ``(rows, columns, out_channels, batch)``."""
    buffer, patches = _patches(to, shape)
    for row, filters, signals in zip(to, _filters(w, shape), _signals(signal, shape), strict=True):
        _multiply(filters, signals, patches)
        for column in range(shape.kernel[1]):  # within one column of the kernel no two positions overlap
            row[:, :, :, column] += buffer[:, :, :, column]


def weight_gradient(seen: Tensor, signal: Tensor, shape: Geometry, out: Tensor) -> None:
    """Fill ``out``, shaped as the filters, from the windows ``seen`` of the input."""
    buffer, patches = _patches(seen, shape)
    for row, signals, gradients in zip(seen, _signals(signal, shape).mT, _filters(out, shape), strict=True):
        buffer.copy_(row)
        _multiply(patches, signals, gradients)


def _patches(seen: Tensor, shape: Geometry) -> tuple[Tensor, Tensor]:
    """Memory for one row of `windows`: as they are, and as ``(columns, [groups,] fan_in, batch)``."""
    buffer = seen.new_empty(seen.shape[1:])
    flat = buffer.flatten(2, 4)
    return buffer, flat.squeeze(1) if shape.groups == 1 else flat


def _filters(w: Tensor, shape: Geometry) -> Tensor:
    """``(rows, columns, [groups,] fan_in, out_channels / groups)``; a view."""
    flat = w.flatten(2, 4)
    return flat if shape.groups == 1 else flat.unflatten(3, (shape.groups, -1)).transpose(2, 3)


def _signals(g: Tensor, shape: Geometry) -> Tensor:
    """``(rows, columns, [groups,] out_channels / groups, batch)``; a view."""
    return g if shape.groups == 1 else g.unflatten(2, (shape.groups, -1))


def _multiply(a: Tensor, b: Tensor, out: Tensor, bias: Tensor | None = None) -> None:
    """``out = a @ b + bias`` for a row of matrices, in place if there are no groups."""
    if out.dim() > 3:
        out.copy_(a @ b if bias is None else a @ b + bias)
    elif bias is None:
        torch.bmm(a, b, out=out)
    else:
        out.copy_(bias).baddbmm_(a, b)
