"""What of a step has other bits with several threads than with one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class ThreadBits(NamedTuple):
    """How many tensors of a step have other bits than with one thread.

    Attributes:
        differing: so many.
        compared: of so many.
    """

    differing: int
    compared: int


def thread_bits(step: Callable[[], Sequence[Tensor]]) -> ThreadBits | None:
    """Compare what a step gives to what it gives with one thread.

    Args:
        step: gives the same at each call with the same number of threads.

    Returns:
        None where there is one thread.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return None
    own = step()
    torch.set_num_threads(1)
    try:
        single = step()
    finally:
        torch.set_num_threads(threads)
    differing = [not one.equal(other) for one, other in zip(own, single, strict=True)]
    return ThreadBits(sum(differing), len(differing))
