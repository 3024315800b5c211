"""Batches whose examples stay in a file until they are asked for, and that note which were."""

import numpy as np
import torch

from biograd.data import cut


class MappedBatches:
    """Rows of ``x.npy`` and ``y.npy`` in a folder, in a new order every epoch.

    Attributes:
        loaded: the numbers of the examples that this process has read, epoch by epoch.
    """

    def __init__(self, folder, batch_size, seed=0):
        self.x, self.y = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in "xy")
        self.batch_size, self.seed = batch_size, seed
        self.loaded = {}

    def __len__(self):
        return -(-len(self.y) // self.batch_size)

    def examples(self, number):
        return min(self.batch_size, len(self.y) - number * self.batch_size)

    def epoch(self, epoch, start=0, *, rank=0, size=1):
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.y))
        for number in range(start, len(self)):
            whole = order[number * self.batch_size :][: self.batch_size]
            mine = whole[cut(self.examples(number), rank, size)]
            self.loaded.setdefault(epoch, []).extend(mine.tolist())
            yield torch.from_numpy(self.x[mine]), torch.from_numpy(self.y[mine])

    def sample(self):
        return torch.from_numpy(self.x[:1].copy())


def write(folder, examples=23, features=6, classes=3):
    """Leave a small task in a folder."""
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.normal(size=(examples, features)))
    np.save(folder / "y.npy", rng.integers(0, classes, examples))
