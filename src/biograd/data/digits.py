"""Digits: images small enough to train on in a second, and always there."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from biograd.data.card import Card
from biograd.data.dataset import DataSet, Split
from biograd.data.tasks import Classes

if TYPE_CHECKING:
    from torch import Tensor

CARD = Card(
    title="Digits",
    train=1438,
    test=359,
    shape=(1, 8, 8),
    outputs=10,
    licence="CC BY 4.0",
    homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
)


def digits(directory: str | Path | None, download: bool, seed: int) -> DataSet:
    """Handwritten digits, 8×8 grey, 1,797 in all, ten classes; a fifth, drawn by seed, is the test part.

    Comes with scikit-learn: nothing is read from ``directory`` or downloaded. Returns inputs (n, 1, 8, 8)
    float32 in [0, 1]; every class gives its share of both parts.

    Reference:
        Alpaydin, Kaynak: Optical recognition of handwritten digits. UCI repository, 1998.
    """
    from biograd.data.splits import carve_validation
    from biograd.data.statistics import standardisation

    whole = Split(*_images_and_labels())
    task = Classes(tuple("0123456789"))
    train, test = carve_validation(whole, task, 1 / 5, seed)
    return DataSet("digits", train, test, task, standardisation(train.inputs))


@functools.cache
def _images_and_labels() -> "tuple[Tensor, Tensor]":
    """All of them, read once a process: scikit-learn keeps them as compressed text."""
    import torch
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    return images, torch.tensor(labels, dtype=torch.int64)
