"""CIFAR-10: small colour photographs."""

from pathlib import Path

from biograd.data.card import Card, Source
from biograd.data.cifar import load_cifar_set
from biograd.data.dataset import DataSet, Preprocessing

TRAIN = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")

CARD = Card(
    title="CIFAR-10",
    train=50_000,
    test=10_000,
    shape=(3, 32, 32),
    outputs=10,
    licence="none stated; cite Krizhevsky 2009",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    source=Source(
        folders=("cifar-10-batches-py", "cifar10/cifar-10-batches-py"),
        mirrors=("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/"),
        downloads={
            "cifar-10-python.tar.gz": "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
        },
        files=(*TRAIN, "test_batch", "batches.meta"),
        archive=True,
        megabytes=170,
    ),
)


def cifar10(
    directory: str | Path | None, download: bool, seed: int, *, augment: bool = True, normalize: bool = True
) -> DataSet:
    """Photographs of animals and vehicles, 32×32 colour, 50,000 + 10,000, ten classes.

    Returns inputs (n, 3, 32, 32) uint8 with the official split; ``seed`` decides nothing. Mean and standard
    deviation are those of all training pixels in [0, 1], channel by channel.

    Args:
        directory: the data directory; None as in `biograd.data.load`.
        download: fetch what is missing.
        seed: not used.
        augment: train on crops from images padded by 4 pixels, and mirror half of them.
        normalize: subtract the mean and divide by the standard deviation; otherwise pixels are in [0, 1].

    Reference:
        Krizhevsky: Learning multiple layers of features from tiny images. 2009.
    """
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    if not normalize:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    preprocessing = Preprocessing(mean, std, crop_padding=4 if augment else 0, flip=augment)
    return load_cifar_set(
        "cifar10",
        CARD,
        directory,
        download,
        train=TRAIN,
        labels="labels",
        label_names="label_names",
        preprocessing=preprocessing,
    )
