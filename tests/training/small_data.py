"""A data set for these tests, named to the configuration as path/to/small_data.py:augmented."""

import torch

from biograd.data import Classes, DataSet, Preprocessing, Split


def augmented(directory, download, seed, *, channels: int = 3):
    """Noise in the shape of small images, cropped and flipped at random in training."""
    del directory, download
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (40, channels, 32, 32), generator=generator).to(torch.uint8)
    targets = torch.arange(40) % 2
    train, test = Split(images[:30], targets[:30]), Split(images[30:], targets[30:])
    return DataSet(
        "augmented",
        train,
        test,
        Classes(("a", "b")),
        Preprocessing((0.5,), (0.25,), crop_padding=2, flip=True),
    )
