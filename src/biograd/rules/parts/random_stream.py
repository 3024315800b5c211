"""Random numbers of a rule's own: a function of its seed and of how often it drew, and part of its state."""

import reprlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from biograd.credit import replays
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
        return replays.generator(device, self._next_seed)

    def take(self, devices: Sequence[torch.device | str]) -> list[torch.Generator]:
        """A generator for each of several draws, in their order."""
        return [self.next(device) for device in devices]

    def _next_seed(self) -> int:
        self._draws += 1
        return seed_of(self._seed, self._draws)

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


def seed_of(*key: int) -> int:
    """A seed for a generator that is a function of the key alone.

    Args:
        *key: non-negative integers; keys that differ in one of them give unrelated numbers.
    """
    # PyTorch seeds its CPU generator with 32 bits alone, so neighbouring keys must be mixed well.
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return int(state) >> 1
