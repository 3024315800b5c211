"""Kuzushiji-MNIST: cursive Japanese characters in MNIST's format."""

from pathlib import Path

from biograd.data.card import Card, Source
from biograd.data.dataset import DataSet
from biograd.data.idx import IDX_FILES, load_idx_set

CARD = Card(
    title="Kuzushiji-MNIST",
    train=60_000,
    test=10_000,
    shape=(1, 28, 28),
    outputs=10,
    licence="CC BY-SA 4.0",
    homepage="https://codh.rois.ac.jp/kmnist/",
    source=Source(
        folders=("kmnist", "KMNIST/raw"),
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        downloads={
            "train-images-idx3-ubyte.gz": "sha256:51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "train-labels-idx1-ubyte.gz": "sha256:e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "t10k-images-idx3-ubyte.gz": "sha256:edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "t10k-labels-idx1-ubyte.gz": "sha256:20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        },
        files=IDX_FILES,
        archive=False,
        megabytes=21,
    ),
)

CLASSES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


def kmnist(directory: str | Path | None, download: bool, seed: int) -> DataSet:
    """Cursive Japanese characters, 28×28 grey, 60,000 + 10,000, ten classes; harder than MNIST.

    Returns inputs (n, 1, 28, 28) uint8 with the official split; ``seed`` decides nothing.
    Mean 0.1918 and standard deviation 0.3483 are those of all training pixels in [0, 1].

    Reference:
        Clanuwat et al.: Deep learning for classical Japanese literature. arXiv:1812.01718, 2018.
    """
    return load_idx_set("kmnist", CARD, directory, download, classes=CLASSES, mean=0.1918, std=0.3483)
