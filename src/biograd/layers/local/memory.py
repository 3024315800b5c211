"""How the maps of a locally connected layer lie in memory, and the windows that its positions see.

Inside, a map has the shape ``(*size, channels, batch)``, its size one to three numbers. In memory either the *batch is
last*, so that gathering a window copies whole runs, or the batch is first and the *channels are last*, as a matrix
product by examples wants it. Every copy between the two is a transposition of two dimensions, which PyTorch does
several times faster than a permutation of more.
"""

import math
import mmap

import torch
import torch.nn.functional as F
from torch import Tensor

from biograd.layers.local.geometry import Geometry

HUGE = 8 * 2**20
"""Bytes from which `empty` asks for huge pages."""


def is_batch_last(x: Tensor) -> bool:
    """Whether the memory of ``(batch, channels, *size)`` runs along the batch."""
    return x.stride(0) == 1 and x.shape[0] > 1


def positions_first(x: Tensor) -> Tensor:
    """``(batch, channels, *size)`` as ``(*size, channels, batch)``; a view."""
    return x.permute(*range(2, x.dim()), 1, 0)


def batch_last(x: Tensor) -> Tensor:
    """``(batch, channels, *size)`` as ``(*size, channels, batch)``, the batch last."""
    if is_batch_last(x):
        return positions_first(x)
    batch, channels, *size = x.shape
    if (last := x.movedim(1, -1)).is_contiguous():
        return last.flatten(1).t().contiguous().view(*size, channels, batch)
    return x.flatten(1).t().contiguous().view(channels, *size, batch).movedim(0, -2)


def channels_last(x: Tensor) -> Tensor:
    """``(batch, channels, *size)`` as ``(*size, channels, batch)``, the channels last."""
    last = positions_first(x)
    if last.is_contiguous():
        runs = last.flatten(0, -2).t().contiguous()
        return runs.view(len(x), *last.shape[:-1]).movedim(0, -1)
    return x.movedim(1, -1).contiguous().movedim(0, -1)


def new_map(shape: tuple[int, ...], like: Tensor, batch_last: bool) -> Tensor:
    """Unfilled ``(batch, channels, *size)``, contiguous or with the batch last; no view of anything."""
    if not batch_last:
        return like.new_empty(shape)
    batch, channels, *size = shape
    strides = [math.prod(size[axis + 1 :]) * channels * batch for axis in range(len(size))]
    return like.new_empty_strided(shape, (1, batch, *strides))


def fill(result: Tensor, x: Tensor) -> Tensor:
    """Copy ``(*size, channels, batch)``, the batch last, into what `new_map` made."""
    if result.is_contiguous():
        result.flatten(1).copy_(x.movedim(-2, 0).flatten(0, -2).t())
    else:
        positions_first(result).copy_(x)
    return result


def pad(x: Tensor, shape: Geometry) -> Tensor:
    """Zeros around ``(*size, channels, batch)``, the order of its memory kept."""
    if not any(shape.padding):
        return x
    if x.stride(-1) == 1:
        return F.pad(x, (0, 0, 0, 0, *shape.padding))
    return F.pad(x.movedim(-1, 0), (0, 0, *shape.padding)).movedim(0, -1)


def unpad(x: Tensor, shape: Geometry) -> Tensor:
    """The inverse of `pad`; a view."""
    for axis, (before, after) in enumerate(zip(shape.padding[-2::-2], shape.padding[::-2], strict=True)):
        x = x.narrow(axis, before, x.shape[axis] - before - after)
    return x


def windows(x: Tensor, shape: Geometry) -> Tensor:
    """What every position sees of a padded map ``(*size, channels, batch)``; an overlapping view.

    Returns:
        ``(*positions, groups, *kernel, channels / groups, batch)``.
    """
    *along, by_channel, by_example = x.stride()
    *size, channels, batch = x.shape
    positions = [(n - span) // step + 1 for n, span, step in zip(size, shape.span, shape.stride, strict=True)]
    per_group = channels // shape.groups
    return x.as_strided(
        (*positions, shape.groups, *shape.kernel, per_group, batch),
        (
            *(step * stride for step, stride in zip(shape.stride, along, strict=True)),
            per_group * by_channel,
            *(step * stride for step, stride in zip(shape.dilation, along, strict=True)),
            by_channel,
            by_example,
        ),
    )


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """`torch.empty`, on huge pages where it is large and the system has them.

    A large layer's gradient is new memory every step; by pages of 4 KiB its first touch can cost as much as
    the product that fills it.
    """
    size = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or size < HUGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=like.dtype).resize_(shape)
