"""Fashion-MNIST: photographs of clothes in MNIST's format."""

from pathlib import Path

from biograd.data.card import Card, Source
from biograd.data.dataset import DataSet
from biograd.data.idx import IDX_FILES, load_idx_set

CARD = Card(
    title="Fashion-MNIST",
    train=60_000,
    test=10_000,
    shape=(1, 28, 28),
    outputs=10,
    licence="MIT",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    source=Source(
        folders=("fashion-mnist", "FashionMNIST/raw"),
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        downloads={
            "train-images-idx3-ubyte.gz": "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        files=IDX_FILES,
        archive=False,
        megabytes=31,
    ),
)

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def fashion_mnist(directory: str | Path | None, download: bool, seed: int) -> DataSet:
    """Photographs of clothes, 28×28 grey, 60,000 + 10,000, ten classes; harder than MNIST.

    Returns inputs (n, 1, 28, 28) uint8 with the official split; ``seed`` decides nothing.
    Mean 0.2860 and standard deviation 0.3530 are those of all training pixels in [0, 1].

    Reference:
        Xiao, Rasul, Vollgraf: Fashion-MNIST, a novel image dataset. arXiv:1708.07747, 2017.
    """
    return load_idx_set("fashion-mnist", CARD, directory, download, classes=CLASSES, mean=0.2860, std=0.3530)
