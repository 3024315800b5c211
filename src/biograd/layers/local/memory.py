"""How the maps of a locally connected layer lie in memory, and the windows that its positions see.

Inside, a map has the shape ``(height, width, channels, batch)``. In memory either the *batch is last*, so that
gathering a window copies whole runs, or the batch is first and the *channels are last*, as a matrix product
by examples wants it. Every copy between the two is a transposition of two dimensions, which PyTorch does
several times faster than a permutation of four.
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
    """Whether the memory of ``(batch, channels, height, width)`` runs along the batch."""
    return x.stride(0) == 1 and x.shape[0] > 1


def batch_last(x: Tensor) -> Tensor:
    """``(batch, channels, height, width)`` as ``(height, width, channels, batch)``, the batch last."""
    if is_batch_last(x):
        return x.permute(2, 3, 1, 0)
    batch, channels, height, width = x.shape
    if x.is_contiguous(memory_format=torch.channels_last):
        runs = x.permute(0, 2, 3, 1).flatten(1).t().contiguous()
        return runs.view(height, width, channels, batch)
    runs = x.flatten(1).t().contiguous()
    return runs.view(channels, height, width, batch).permute(1, 2, 0, 3)


def channels_last(x: Tensor) -> Tensor:
    """``(batch, channels, height, width)`` as ``(height, width, channels, batch)``, the channels last."""
    last = x.permute(2, 3, 1, 0)
    if last.is_contiguous():
        height, width, channels, batch = last.shape
        runs = last.flatten(0, 2).t().contiguous()
        return runs.view(batch, height, width, channels).permute(1, 2, 3, 0)
    return x.permute(0, 2, 3, 1).contiguous().permute(1, 2, 3, 0)


def new_map(shape: tuple[int, ...], like: Tensor, batch_last: bool) -> Tensor:
    """Unfilled ``(batch, channels, height, width)``, contiguous or with the batch last; no view of anything."""
    if not batch_last:
        return like.new_empty(shape)
    batch, channels, _, width = shape
    return like.new_empty_strided(shape, (1, batch, width * channels * batch, channels * batch))


def fill(result: Tensor, x: Tensor) -> Tensor:
    """Copy ``(height, width, channels, batch)``, the batch last, into what `new_map` made."""
    if result.is_contiguous():
        result.flatten(1).copy_(x.permute(2, 0, 1, 3).flatten(0, 2).t())
    else:
        result.permute(2, 3, 1, 0).copy_(x)
    return result


def pad(x: Tensor, shape: Geometry) -> Tensor:
    """Zeros around ``(height, width, channels, batch)``, the order of its memory kept."""
    if not any(shape.padding):
        return x
    if x.stride(3) == 1:
        return F.pad(x, (0, 0, 0, 0, *shape.padding))
    return F.pad(x.permute(3, 0, 1, 2), (0, 0, *shape.padding)).permute(1, 2, 3, 0)


def unpad(x: Tensor, shape: Geometry) -> Tensor:
    """The inverse of `pad`; a view."""
    left, right, top, bottom = shape.padding
    return x[top : x.shape[0] - bottom, left : x.shape[1] - right]


def windows(x: Tensor, shape: Geometry) -> Tensor:
    """What every position sees of a padded map ``(height, width, channels, batch)``; an overlapping view.

    Returns:
        ``(rows, columns, groups, kernel_height, kernel_width, channels / groups, batch)``.
    """
    (tall, wide), (down, across) = shape.kernel, shape.dilation
    seen = x.unfold(0, down * (tall - 1) + 1, shape.stride[0]).unfold(
        1, across * (wide - 1) + 1, shape.stride[1]
    )
    seen = seen[..., ::down, ::across].unflatten(2, (shape.groups, -1))
    return seen.permute(0, 1, 2, 5, 6, 3, 4)


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
