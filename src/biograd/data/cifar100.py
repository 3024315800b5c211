"""CIFAR-100: small colour photographs of a hundred classes."""

from pathlib import Path
from typing import Literal

from biograd.data.card import Card, Source
from biograd.data.cifar import load_cifar_set
from biograd.data.dataset import DataSet, Preprocessing

CARD = Card(
    title="CIFAR-100",
    train=50_000,
    test=10_000,
    shape=(3, 32, 32),
    outputs=100,
    licence="none stated; cite Krizhevsky 2009",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    source=Source(
        folders=("cifar-100-python", "cifar100/cifar-100-python"),
        mirrors=("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/"),
        downloads={
            "cifar-100-python.tar.gz": "sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
        },
        files=("train", "test", "meta"),
        archive=True,
        megabytes=169,
    ),
)


def cifar100(
    directory: str | Path | None,
    download: bool,
    seed: int,
    *,
    augment: bool = True,
    normalize: bool = True,
    labels: Literal["fine", "coarse"] = "fine",
) -> DataSet:
    """Photographs, 32×32 colour, 50,000 + 10,000, a hundred classes in twenty groups.

    Returns inputs (n, 3, 32, 32) uint8 with the official split; ``seed`` decides nothing. Mean and standard
    deviation are those of all training pixels in [0, 1], channel by channel.

    Args:
        directory: the data directory; None as in `biograd.data.load`.
        download: fetch what is missing.
        seed: not used.
        augment: train on crops from images padded by 4 pixels, and mirror half of them.
        normalize: subtract the mean and divide by the standard deviation; otherwise pixels are in [0, 1].
        labels: the hundred fine classes, or the twenty coarse ones.

    Reference:
        Krizhevsky: Learning multiple layers of features from tiny images. 2009.
    """
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    if not normalize:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    preprocessing = Preprocessing(mean, std, crop_padding=4 if augment else 0, flip=augment)
    return load_cifar_set(
        "cifar100",
        CARD,
        directory,
        download,
        train=("train",),
        labels=f"{labels}_labels",
        label_names=f"{labels}_label_names",
        preprocessing=preprocessing,
    )
