"""IDX files, the format of MNIST and of the sets made after it."""

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from biograd.data.card import Card
from biograd.data.dataset import DataSet, Preprocessing, Split
from biograd.data.download import official_folder
from biograd.data.files import held_file, reading
from biograd.data.tasks import Classes
from biograd.errors import DataUnavailable

if TYPE_CHECKING:
    import numpy as np

IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)

MOST, LARGEST = 8, 2**30
"""Dimensions and bytes that are read of a file; the largest of those that are known has 3 and 47 million."""


def load_idx_set(
    name: str,
    card: Card,
    directory: str | Path | None,
    download: bool,
    *,
    classes: tuple[str, ...],
    mean: float,
    std: float,
) -> DataSet:
    """Load a set of four IDX files: training images and labels, test images and labels.

    Raises:
        DataUnavailable: as `official_folder`, or a file that does not hold what its name says.
    """
    if card.source is None:
        raise ValueError(f"{name} has no official files")
    folder = official_folder(name, card.source, directory, download)
    train, test = (_read_split(folder, part, card) for part in ("train", "t10k"))
    return DataSet(name, train, test, Classes(classes), Preprocessing((mean,), (std,)))


def read_idx(path: Path) -> "np.ndarray":
    """Read an IDX file of unsigned bytes, packed with gzip or not, into an array of its own.

    The file is: two zero bytes; the type, 8 for unsigned bytes; the number d of dimensions; d sizes as
    big-endian 32-bit numbers; the bytes, last dimension fastest.

    Raises:
        DataUnavailable: it is anything else, or shorter or longer than its header says.
    """
    import numpy as np

    try:
        with reading(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            sizes = _sizes(path, file)
            size = math.prod(sizes)
            content = file.read(size + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _broken(path, f"it cannot be unpacked: {error}") from None
    if len(content) != size:
        held = f"more than {size}" if len(content) > size else f"{len(content)}"
        raise _broken(path, f"it holds {held} bytes of data where its header says {sizes}")
    return np.frombuffer(content, np.uint8).reshape(sizes).copy()


def _sizes(path: Path, file: io.BufferedIOBase) -> list[int]:
    """What the header says; nothing is read of a file that says more than can be."""
    start = file.read(4)
    if len(start) < 4 or start[:3] != b"\0\0\x08":
        raise _broken(path, f"it starts with {start.hex(' ')!r}, not with an IDX header of unsigned bytes")
    sizes = file.read(4 * start[3])
    if start[3] == 0 or len(sizes) < 4 * start[3]:
        raise _broken(path, "its header is cut short")
    found = [int.from_bytes(sizes[place : place + 4], "big") for place in range(0, len(sizes), 4)]
    if len(found) > MOST or math.prod(max(size, 1) for size in found) > LARGEST:
        said = f"{len(found)} dimensions" if len(found) > MOST else f"{found}"
        raise _broken(path, f"its header says {said}, more than {MOST} dimensions or {LARGEST:,} bytes")
    return found


def _read_split(folder: Path, part: str, card: Card) -> Split:
    import torch

    images, labels = (_read(folder, f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    expected = card.shape[1:]
    if images.shape != (len(labels), *expected) or labels.ndim != 1 or len(labels) == 0:
        found = f"{part} images of {images.shape} and labels of {labels.shape}"
        raise _broken(folder, f"it holds {found}, expected (n, {', '.join(map(str, expected))}) and (n,)")
    if labels.max() >= card.outputs:
        raise _broken(folder, f"a {part} label is {labels.max()}, expected 0 to {card.outputs - 1}")
    return Split(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())  # (n, 1, h, w)


def _read(folder: Path, name: str) -> "np.ndarray":
    path = held_file(folder, name)
    if path is None:
        raise DataUnavailable(f"{folder / name} has gone while the set was being loaded")
    return read_idx(path)


def _broken(path: Path, why: str) -> DataUnavailable:
    return DataUnavailable(f"{path} is not an official file: {why}; remove it, and it is fetched again")
