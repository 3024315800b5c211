"""The official CIFAR pickles, read without letting them run anything."""

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biograd.data.card import Card
from biograd.data.dataset import DataSet, Preprocessing, Split
from biograd.data.download import official_folder
from biograd.data.files import reading
from biograd.data.tasks import Classes
from biograd.errors import DataUnavailable

if TYPE_CHECKING:
    import numpy as np


def load_cifar_set(
    name: str,
    card: Card,
    directory: str | Path | None,
    download: bool,
    *,
    train: tuple[str, ...],
    labels: str,
    label_names: str,
    preprocessing: Preprocessing,
) -> DataSet:
    """Load a CIFAR set from its folder of pickles.

    Args:
        name: its short name.
        card: its sizes and files; the last file holds the names of the classes.
        directory: the data directory; None as in `biograd.data.load`.
        download: fetch what is missing.
        train: the files of the training part; the test part is the file whose name starts with "test".
        labels: the key of the classes in each file.
        label_names: the key of their names in the last file.
        preprocessing: of the set returned.

    Raises:
        DataUnavailable: as `official_folder`, or a file that does not hold what its name says.
    """
    if card.source is None:
        raise ValueError(f"{name} has no official files")
    folder = official_folder(name, card.source, directory, download)
    meta = folder / card.source.files[-1]
    classes = _names(read_pickle(meta), label_names, meta)
    test = tuple(file for file in card.source.files if file.startswith("test"))
    train_split, test_split = (_read_split(folder, files, labels, len(classes)) for files in (train, test))
    return DataSet(name, train_split, test_split, Classes(classes), preprocessing)


def read_pickle(path: Path) -> dict[str, Any]:
    """Read one pickle of plain values and byte arrays; anything else in it is refused, not run.

    Python 2 wrote the files, so text in them is bytes; keys are returned as str.

    Raises:
        DataUnavailable: it is no such pickle, is cut short, or asks for anything else.
    """
    try:
        with reading(path), path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="bytes").load()
    except _MALFORMED as error:
        raise _broken(path, str(error) or type(error).__name__) from None
    if not isinstance(content, dict):
        raise _broken(path, f"it holds a {type(content).__name__}, expected a dict")
    return {_text(key): value for key, value in content.items()}


# What the unpickler raises on bytes that are no pickle, or a cut or a forged one.
_MALFORMED = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError,
)  # fmt: skip


class _ByteType:
    """Stands where a pickle says numpy.dtype; only unsigned bytes are admitted."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"an array of type {code!r} where unsigned bytes are expected")

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like, which unsigned bytes have none of."""


class _ByteArray:
    """Stands where a pickle says numpy.ndarray: NumPy's own unpickling is never entered."""

    array: "np.ndarray"

    def __setstate__(self, state: Any) -> None:
        import numpy as np

        _, shape, kind, is_fortran, content = state
        if not isinstance(kind, _ByteType) or not isinstance(content, bytes) or is_fortran:
            raise pickle.UnpicklingError("an array that is not of unsigned bytes in C order")
        self.array = np.frombuffer(content, np.uint8).reshape(shape)


def _empty_array(subtype: Any, *_: Any) -> _ByteArray:
    if subtype is not _ByteArray:
        raise pickle.UnpicklingError(f"an array of class {subtype!r}")
    return _ByteArray()


_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy", "ndarray"): _ByteArray,
    ("numpy", "dtype"): _ByteType,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Admits the names that make up a NumPy array, and no other."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which is refused")
        return _ADMITTED[module_name, global_name]


def _read_split(folder: Path, files: tuple[str, ...], labels: str, classes: int) -> Split:
    import numpy as np
    import torch

    parts = [_read_batch(folder / file, labels, classes) for file in files]
    images = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, 3, 32, 32)
    return Split(torch.from_numpy(images), torch.tensor([label for _, batch in parts for label in batch]))


def _read_batch(path: Path, labels: str, classes: int) -> tuple["np.ndarray", list[int]]:
    """Pixels (n, 3072), channel after channel, and n classes."""
    content = read_pickle(path)
    pixels = getattr(content.get("data"), "array", None)
    targets = content.get(labels)
    if pixels is None or not isinstance(targets, list):
        raise _broken(path, f"it has no pixels under 'data' or no list under {labels!r}")
    if pixels.shape != (len(targets), 3072) or not targets:
        raise _broken(
            path, f"it holds pixels of {pixels.shape} for {len(targets)} labels, expected (n, 3072)"
        )
    if not all(isinstance(label, int) and 0 <= label < classes for label in targets):
        raise _broken(path, f"a label is not one of 0 to {classes - 1}")
    return pixels, targets


def _names(content: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    listed = content.get(key)
    if not isinstance(listed, list) or not all(isinstance(name, bytes | str) for name in listed):
        raise _broken(path, f"it has no list of names under {key!r}")
    return tuple(_text(name) for name in listed)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _broken(path: Path, why: str) -> DataUnavailable:
    reason = " ".join(why.split())  # some of pickle's messages have two lines
    return DataUnavailable(f"{path} is not an official file: {reason}; remove it, and it is fetched again")
