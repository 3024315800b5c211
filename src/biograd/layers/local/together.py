"""The products of a locally connected layer by PyTorch's own matrix product, some positions at a time.

No more patches exist at a time than the cache holds, or those of one row where maps have rows, in one buffer.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from biograd.layers.local.geometry import Geometry
from biograd.layers.local.memory import batch_last, pad, windows

CACHE = 2**20
"""Bytes of patches up to which positions are taken at once: what a core's second-level cache holds."""


def product(x: Tensor, w: Tensor, bias: Tensor | None, shape: Geometry, out: Tensor) -> None:
    """Fill ``out``, ``(*positions, out_channels, batch)``."""
    blocks = _Blocks(windows(pad(batch_last(x), shape), shape), shape)
    filters, outputs = blocks.split(_filters(w, shape).mT), blocks.split(_signals(out, shape))
    added = None if bias is None else _signals(bias.movedim(0, -1).unsqueeze(-1), shape)
    biases = itertools.repeat(None, len(outputs)) if added is None else blocks.split(added)
    for seen, matrices, output, b in zip(blocks.seen, filters, outputs, biases, strict=True):
        _multiply(matrices, blocks.patches_of(seen), output, b)


def add_input_gradient(signal: Tensor, w: Tensor, shape: Geometry, to: Tensor) -> None:
    """Add to the windows ``to`` of the gradient; ``signal`` is ``(*positions, out_channels, batch)``."""
    blocks = _Blocks(to, shape)
    filters, signals = blocks.split(_filters(w, shape)), blocks.split(_signals(signal, shape))
    for target, matrices, errors in zip(blocks.seen, filters, signals, strict=True):
        buffer, patches = blocks.buffer(target)
        _multiply(matrices, errors, patches)
        for part in blocks.apart(target):
            target[part].add_(buffer[part])


def weight_gradient(seen: Tensor, signal: Tensor, shape: Geometry, out: Tensor) -> None:
    """Fill ``out``, shaped as the filters, from the windows ``seen`` of the input."""
    blocks = _Blocks(seen, shape)
    signals, gradients = blocks.split(_signals(signal, shape).mT), blocks.split(_filters(out, shape))
    for window, errors, gradient in zip(blocks.seen, signals, gradients, strict=True):
        _multiply(blocks.patches_of(window), errors, gradient)


class _Blocks:
    """Positions in blocks of as many as fit into `CACHE`, or a row, with memory for the patches of one block.

    Attributes:
        seen: the windows of each block, ``(…, groups, *kernel, channels / groups, batch)``; in front those axes of the
            positions along which a block has several.
    """

    def __init__(self, seen: Tensor, shape: Geometry) -> None:
        self._shape = shape
        axis, length = _extent(seen, shape)
        parts = [seen]
        for _ in range(axis):
            parts = [row for part in parts for row in part.unbind()]
        self.seen = [block for part in parts for block in part.split(length)]
        self._sizes = [block.shape[: shape.dimensions - axis].numel() for block in self.seen]
        self._memory = seen.new_empty(self.seen[0].shape)
        self._first_axis = axis

    def split(self, by_position: Tensor) -> tuple[Tensor, ...]:
        """The part of each block, of ``(positions, …)``."""
        return by_position.split(self._sizes)

    def patches_of(self, seen: Tensor) -> Tensor:
        """The patches of a block, gathered: ``(positions, [groups,] fan_in, batch)``."""
        buffer, patches = self.buffer(seen)
        buffer.copy_(seen)
        return patches

    def buffer(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Memory for the patches of a block, as its windows are and as `patches_of` gives them."""
        buffer = self._memory[: len(seen)]
        n = self._shape.dimensions
        patches = buffer.flatten(-n - 2, -2).flatten(0, -4)
        return buffer, patches.squeeze(1) if self._shape.groups == 1 else patches

    def apart(self, seen: Tensor) -> Iterator[tuple[slice | int, ...]]:
        """Parts of the windows of a block within which no two positions overlap.

        Along an axis on which it has several, these have one place in the kernel each.
        """
        lengths = (1,) * self._first_axis + tuple(seen.shape[: self._shape.dimensions - self._first_axis])
        every = (slice(None),)
        places = [
            range(k) if many > 1 else every for many, k in zip(lengths, self._shape.kernel, strict=True)
        ]
        in_front = every * (len(lengths) - self._first_axis + 1)
        return ((*in_front, *place) for place in itertools.product(*places))


def _extent(seen: Tensor, shape: Geometry) -> tuple[int, int]:
    """The first axis of the positions along which a block has several, and how many it has; all of those behind."""
    counts, patch = seen.shape[: shape.dimensions], seen.shape[shape.dimensions :].numel()
    least = counts[-1] if len(counts) > 1 else 1
    fitting = max(least, CACHE // max(1, patch * seen.element_size()))  # there may be no examples
    axis = len(counts) - 1
    while axis > 0 and counts[axis] <= fitting:
        fitting //= counts[axis]
        axis -= 1
    return axis, min(counts[axis], fitting)


def _filters(w: Tensor, shape: Geometry) -> Tensor:
    """``(positions, [groups,] fan_in, out_channels / groups)``; a view."""
    n = shape.dimensions
    flat = w.flatten(n, 2 * n).flatten(0, n - 1)
    return flat if shape.groups == 1 else flat.unflatten(2, (shape.groups, -1)).transpose(1, 2)


def _signals(g: Tensor, shape: Geometry) -> Tensor:
    """``(positions, [groups,] out_channels / groups, batch)``; a view."""
    flat = g.flatten(0, shape.dimensions - 1)
    return flat if shape.groups == 1 else flat.unflatten(1, (shape.groups, -1))


def _multiply(a: Tensor, b: Tensor, out: Tensor, bias: Tensor | None = None) -> None:
    """``out = a @ b + bias`` for some matrices, in place if there are no groups."""
    if out.dim() > 3:
        out.copy_(a @ b if bias is None else a @ b + bias)
    elif bias is None:
        torch.bmm(a, b, out=out)
    else:
        out.copy_(bias).baddbmm_(a, b)
