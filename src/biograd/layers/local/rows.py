"""The products of a locally connected layer by PyTorch's own matrix product, some rows of positions at a time.

No more patches exist at a time than the cache holds, or those of one row, in one buffer.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from biograd.layers.local.geometry import Geometry
from biograd.layers.local.memory import batch_last, pad, windows

CACHE = 2**20
"""Bytes of patches up to which several rows are taken at once: what a core's second-level cache holds."""


def product(x: Tensor, w: Tensor, bias: Tensor | None, shape: Geometry, out: Tensor) -> None:
    """Fill ``out``, ``(rows, columns, out_channels, batch)``."""
    seen = windows(pad(batch_last(x), shape), shape)
    filters, outputs = _filters(w, shape).mT, _signals(out, shape)
    biases = None if bias is None else _signals(bias.permute(1, 2, 0).unsqueeze(3), shape)
    for span, at, buffer, patches in _spans(seen, shape):
        buffer.copy_(seen[span])
        _multiply(filters[at], patches, outputs[at], None if biases is None else biases[at])


def add_input_gradient(signal: Tensor, w: Tensor, shape: Geometry, to: Tensor) -> None:
    """Add to the windows ``to`` of the gradient; ``signal`` is ``(rows, columns, out_channels, batch)``."""
    filters, signals = _filters(w, shape), _signals(signal, shape)
    for span, at, buffer, patches in _spans(to, shape):
        _multiply(filters[at], signals[at], patches)
        for part in _apart(len(buffer), shape):
            to[span][part].add_(buffer[part])


def weight_gradient(seen: Tensor, signal: Tensor, shape: Geometry, out: Tensor) -> None:
    """Fill ``out``, shaped as the filters, from the windows ``seen`` of the input."""
    signals, gradients = _signals(signal, shape).mT, _filters(out, shape)
    for span, at, buffer, patches in _spans(seen, shape):
        buffer.copy_(seen[span])
        _multiply(patches, signals[at], gradients[at])


def _spans(seen: Tensor, shape: Geometry) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Rows of `windows` and their positions, with memory for their patches.

    The memory is one for all, as the windows are, and as ``(positions, [groups,] fan_in, batch)``.
    """
    rows, columns = seen.shape[:2]
    row = max(1, seen[0].numel() * seen.element_size())  # there may be no examples
    together = min(rows, max(1, CACHE // row))
    memory = seen.new_empty(together, *seen.shape[1:])
    for start in range(0, rows, together):
        end = min(start + together, rows)
        buffer = memory[: end - start]
        patches = buffer.flatten(3, 5).flatten(0, 1)
        patches = patches.squeeze(1) if shape.groups == 1 else patches
        yield slice(start, end), slice(start * columns, end * columns), buffer, patches


def _apart(rows: int, shape: Geometry) -> Iterator[tuple[slice | int, ...]]:
    """Parts of the windows of some rows within which no two positions overlap: one place in the kernel each.

    Within one row the places of a kernel's column do not overlap either.
    """
    every = (slice(None),) * 3
    tall, wide = (range(size) for size in shape.kernel)
    if rows == 1:
        return ((*every, slice(None), column) for column in wide)
    return ((*every, *place) for place in itertools.product(tall, wide))


def _filters(w: Tensor, shape: Geometry) -> Tensor:
    """``(positions, [groups,] fan_in, out_channels / groups)``; a view."""
    flat = w.flatten(2, 4).flatten(0, 1)
    return flat if shape.groups == 1 else flat.unflatten(2, (shape.groups, -1)).transpose(1, 2)


def _signals(g: Tensor, shape: Geometry) -> Tensor:
    """``(positions, [groups,] out_channels / groups, batch)``; a view."""
    flat = g.flatten(0, 1)
    return flat if shape.groups == 1 else flat.unflatten(1, (shape.groups, -1))


def _multiply(a: Tensor, b: Tensor, out: Tensor, bias: Tensor | None = None) -> None:
    """``out = a @ b + bias`` for some matrices, in place if there are no groups."""
    if out.dim() > 3:
        out.copy_(a @ b if bias is None else a @ b + bias)
    elif bias is None:
        torch.bmm(a, b, out=out)
    else:
        out.copy_(bias).baddbmm_(a, b)
