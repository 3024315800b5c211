"""Random draws that are pure functions of a few numbers, so that any batch can be made again."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def seeded(*words: int) -> "torch.Generator":
    """A CPU generator whose draws depend on all of ``words`` and on nothing else.

    The words are hashed together (NumPy's SeedSequence), so that neighbours such as (seed, epoch) and
    (seed + 1, epoch − 1) have nothing in common. It lives on the CPU whatever device the data is on, so that
    every device sees the same examples in the same order.

    Example:
        >>> import torch
        >>> torch.equal(torch.randperm(9, generator=seeded(0, 1)), torch.randperm(9, generator=seeded(0, 1)))
        True
    """
    import numpy as np
    import torch

    entropy = [word % 2**64 for word in words]  # SeedSequence takes no negative numbers
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def derive(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose, below 2**31.

    Without it a net and its fixed feedback would be drawn from one stream and be correlated: weight
    transport by seed.

    Example:
        >>> derive(0, "net") == derive(0, "net"), derive(0, "net") == derive(0, "rule")
        (True, False)
    """
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
