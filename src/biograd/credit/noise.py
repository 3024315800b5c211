"""Normal noise in the shapes of tensors, the numbers of one draw, that is made as it is needed."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from biograd.credit import replays

_GROUP = 16
"""PyTorch makes a CPU's normal numbers in groups of so many, and what is left over of the last such group."""


def normal_like(
    tensors: Sequence[Tensor], scale: float, generator: torch.Generator, *, as_in_memory: bool = False
) -> Iterator[Tensor]:
    """Normal noise of standard deviation ``scale`` in the shape of each tensor, the numbers of one draw.

    They come one after another as they are asked for; on a CPU none is drawn before.

    Args:
        tensors: of one dtype and device, at least one.
        scale: the standard deviation.
        generator: on their device.
        as_in_memory: lay numbers out in the order that the tensor's own have in memory, so that they add fast.
    """
    lay_out = _laid_out if as_in_memory else _in_shape
    sizes = [tensor.numel() for tensor in tensors]
    drawn = (_whole_groups if _are_whole(sizes, generator) else _one_draw)(sizes, tensors[0], generator)
    waiting = [*tensors][::-1]
    del tensors
    while waiting:
        yield lay_out(next(drawn).mul_(scale), waiting.pop())  # nothing here holds either while it is used


def generator_behind(tensors: Sequence[Tensor], generator: torch.Generator) -> torch.Generator:
    """A generator that goes on where `normal_like` of some tensors ends, before the numbers of these are asked for.

    On a CPU they are drawn twice for it, which takes less time than memory for all of them would. Elsewhere, where
    numbers come at the first time that one is asked for, it is the generator itself.

    Args:
        tensors: as for `normal_like`.
        generator: that these are going to be drawn from.
    """
    if generator.device.type != "cpu":
        return generator
    ahead = torch.Generator()
    replays.at_each_step(lambda: ahead.set_state(generator.get_state()))
    for _ in normal_like(tensors, 1.0, ahead):
        pass
    return ahead


def _are_whole(sizes: Sequence[int], generator: torch.Generator) -> bool:
    return generator.device.type == "cpu" and not any(size % _GROUP for size in sizes)


def _whole_groups(sizes: Sequence[int], like: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """As `_one_draw` gives them, where all parts are groups as a CPU draws them, so that nothing is left over."""
    kind = {"generator": generator, "device": like.device, "dtype": like.dtype}
    del like
    return (torch.randn(size, **kind) for size in sizes)


def _one_draw(sizes: Sequence[int], like: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """The numbers of one draw in parts of these sizes; on a CPU drawn in whole groups, which gives the same ones."""
    kind, left = {"generator": generator, "device": like.device, "dtype": like.dtype}, sum(sizes)
    del like
    if kind["device"].type != "cpu":
        yield from torch.randn(left, **kind).split(sizes)
        return
    over = None  # numbers of the last group that the part before did not take
    for size in sizes:
        ahead = 0 if over is None else over.numel()
        count = -(min(ahead - size, 0) // _GROUP) * _GROUP
        if left - count < _GROUP:
            count = left  # what is left over is drawn with the last group
        draw = torch.randn(count, **kind)
        left -= count
        if over is not None:
            draw = torch.cat([over, draw])
        is_all = draw.numel() == size
        over, part = (None, [draw]) if is_all else (draw[size:].clone(), [draw[:size]])
        del draw
        yield part.pop()  # nothing here holds it while it is used


def _in_shape(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.view(like.shape)


def _laid_out(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers in the shape of another tensor, in the order that its own have in memory."""
    if like.is_contiguous():
        return numbers.view(like.shape)
    order = sorted(range(like.dim()), key=like.stride, reverse=True)
    return numbers.view([like.shape[d] for d in order]).permute([order.index(d) for d in range(like.dim())])
