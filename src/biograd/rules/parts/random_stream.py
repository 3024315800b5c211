"""Random numbers of a rule's own: a function of its seed and of how often it drew, and part of its state."""

import reprlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from biograd.errors import UserMistake


class RandomStream(nn.Module):
    """Generators that leave PyTorch's global one alone and survive saving and loading.

    Args:
        seed: non-negative; same seed, same numbers, on the same kind of device.

    Example:
        >>> stream = RandomStream(seed=3)
        >>> a = torch.rand(2, generator=stream.next("cpu"))
        >>> b = torch.rand(2, generator=stream.next("cpu"))
        >>> torch.equal(a, b), torch.equal(a, torch.rand(2, generator=RandomStream(3).next("cpu")))
        (False, True)
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._draws = 0

    def next(self, device: torch.device | str) -> torch.Generator:
        """A generator for the next draw, on ``device``."""
        self._draws += 1
        return keyed_generator(device, self._seed, self._draws)

    def normal_like(
        self, tensors: Sequence[Tensor], scale: float, *, as_in_memory: bool = False
    ) -> list[Tensor]:
        """The next draw of `normal_like`."""
        return normal_like(tensors, scale, self.next(tensors[0].device), as_in_memory=as_in_memory)

    def take(self, devices: Sequence[torch.device | str]) -> list[torch.Generator]:
        """A generator for each of several draws, in their order."""
        return [self.next(device) for device in devices]

    def get_extra_state(self) -> Tensor:
        """Seed and number of draws, ``(2,)`` int64."""
        return torch.tensor([self._seed, self._draws])

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from the state of `get_extra_state`."""
        self._seed, self._draws = counts(state, 2)


def counts(state: Tensor, number: int) -> list[int]:
    """So many whole numbers from 0 on, as the state of a rule that counts holds them.

    Raises:
        UserMistake: it holds anything else.
    """
    if tuple(state.shape) != (number,) or state.dtype != torch.int64 or (state < 0).any():
        raise UserMistake(
            f"a state of a rule is {reprlib.repr(state.tolist())}, expected {number} counts from 0 on"
        )
    return [int(value) for value in state]


def keyed_generator(device: torch.device | str, *key: int) -> torch.Generator:
    """A generator on ``device`` whose numbers are a function of the key alone.

    Args:
        device: where the numbers are going to be drawn.
        *key: non-negative integers; keys that differ in one of them give unrelated numbers.
    """
    # PyTorch seeds its CPU generator with 32 bits alone, so neighbouring keys must be mixed well.
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) >> 1)


def keyed_generators(devices: Sequence[torch.device], *key: int) -> list[torch.Generator]:
    """Generators on several devices, of keys that end in their places, as `keyed_generator` makes each."""
    return [keyed_generator(device, *key, place) for place, device in enumerate(devices)]


def normal_like(
    tensors: Sequence[Tensor], scale: float, generator: torch.Generator, *, as_in_memory: bool = False
) -> list[Tensor]:
    """Normal noise of standard deviation ``scale`` in the shape of each tensor, all of it from one draw.

    Args:
        tensors: of one dtype and device, at least one.
        scale: the standard deviation.
        generator: on their device.
        as_in_memory: lay numbers out in the order that the tensor's own have in memory, so that they add fast.
    """
    like, sizes = tensors[0], [tensor.numel() for tensor in tensors]
    drawn = torch.randn(sum(sizes), generator=generator, device=like.device, dtype=like.dtype).mul_(scale)
    lay_out = _laid_out if as_in_memory else _in_shape
    return [lay_out(part, tensor) for part, tensor in zip(drawn.split(sizes), tensors, strict=True)]


def _in_shape(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.view(like.shape)


def _laid_out(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers in the shape of another tensor, in the order that its own have in memory."""
    if like.is_contiguous():
        return numbers.view(like.shape)
    order = sorted(range(like.dim()), key=like.stride, reverse=True)
    return numbers.view([like.shape[d] for d in order]).permute([order.index(d) for d in range(like.dim())])
