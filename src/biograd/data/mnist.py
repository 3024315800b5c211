"""MNIST: handwritten digits."""

from pathlib import Path

from biograd.data.card import Card, Source
from biograd.data.dataset import DataSet
from biograd.data.idx import IDX_FILES, load_idx_set

CARD = Card(
    title="MNIST",
    train=60_000,
    test=10_000,
    shape=(1, 28, 28),
    outputs=10,
    licence="usually given as CC BY-SA 3.0",
    homepage="http://yann.lecun.com/exdb/mnist/",
    source=Source(
        folders=("mnist", "MNIST/raw"),
        mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/",),
        downloads={
            "train-images-idx3-ubyte.gz": "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        files=IDX_FILES,
        archive=False,
        megabytes=12,
    ),
)

CLASSES = tuple("0123456789")


def mnist(directory: str | Path | None, download: bool, seed: int) -> DataSet:
    """Handwritten digits, 28×28 grey, 60,000 + 10,000, ten classes.

    Returns inputs (n, 1, 28, 28) uint8 with the official split; ``seed`` decides nothing.
    Mean 0.1307 and standard deviation 0.3081 are those of all training pixels in [0, 1].

    Reference:
        LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition. Proc. IEEE, 1998.
    """
    return load_idx_set("mnist", CARD, directory, download, classes=CLASSES, mean=0.1307, std=0.3081)
