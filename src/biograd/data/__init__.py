"""Data sets by short name, as tensors: one file a data set, and a line here.

Listing names and what the cache holds loads no PyTorch; it comes with the first tensor.
"""

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from biograd.data.batches import Batches, cut
from biograd.data.card import Card
from biograd.data.dataset import DataSet, Preprocessing, Split
from biograd.data.files import check_directory, data_directory, find_folder, held_bytes, missing_files
from biograd.data.seeded import derive
from biograd.data.tasks import Classes, Labels, Regression, Task, Tokens
from biograd.errors import DataUnavailable, UserMistake
from biograd.registry import Registry
from biograd.settings import Setting, validate
from biograd.settings import describe as describe_settings

if TYPE_CHECKING:
    from biograd.data.splits import carve_validation
    from biograd.data.tensor_batches import TensorBatches

__all__ = [
    "REGISTRY",
    "Batches",
    "Cached",
    "Card",
    "Classes",
    "DataSet",
    "Description",
    "Labels",
    "Preprocessing",
    "Regression",
    "Split",
    "Task",
    "TensorBatches",
    "Tokens",
    "cached",
    "carve_validation",
    "cut",
    "derive",
    "describe",
    "load",
    "names",
]

REGISTRY = Registry(
    "data set",
    {
        "iris": "biograd.data.iris:iris",
        "digits": "biograd.data.digits:digits",
        "diabetes": "biograd.data.diabetes:diabetes",
        "mnist": "biograd.data.mnist:mnist",
        "fashion-mnist": "biograd.data.fashion_mnist:fashion_mnist",
        "kmnist": "biograd.data.kmnist:kmnist",
        "cifar10": "biograd.data.cifar10:cifar10",
        "cifar100": "biograd.data.cifar100:cifar100",
        "unicode-names": "biograd.data.unicode_names:unicode_names",
        "synthetic": "biograd.data.synthetic:synthetic",
    },
    group="biograd.data",
    readers={
        "folder:PATH": "biograd.data.folder:folder",
        "table:FILE.csv": "biograd.data.table:table",
        "arrays:FILE.npz": "biograd.data.arrays:arrays",
        "text:FILE": "biograd.data.text:text",
    },
    adapter="biograd.data.given:loader",
    expected="a class or function, a DataSet, or examples: inputs and targets, a torch Dataset, columns",
)

_LAZY = {"TensorBatches": "biograd.data.tensor_batches", "carve_validation": "biograd.data.splits"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'biograd.data' has no attribute {name!r}")


def names() -> list[str]:
    """The short names of every data set, third-party ones included."""
    return REGISTRY.names()


def load(
    name: Any,
    *,
    directory: str | Path | None = None,
    download: bool = True,
    seed: int = 0,
    **settings: Any,
) -> DataSet:
    """Load a data set by its short name, from the folder that holds it or from its official source.

    Args:
        name: one of `names()`; files of your own, as ``arrays:FILE.npz``; ``path/to/file.py:Name``; or what such a
            name may stand for: a callable ``Name(directory, download, seed, *, …) -> DataSet``, or examples, in the
            forms that `biograd.data.examples.gathered` reads.
        directory: where official files are looked for and put; None means ``$BIOGRAD_DATA``, and the
            user's cache folder where that is not set.
        download: fetch what is missing; False looks in the folder only.
        seed: decides the test part of sets that have no official one (iris, digits), and the whole of
            ``synthetic``; the others do not depend on it.
        **settings: the keyword-only parameters of the data set.

    Raises:
        UserMistake: an unknown name or a bad setting, or a set that cannot be trained on; see `DataSet`.
        DataUnavailable: no such folder, files that are not the official ones, or a download that failed.

    Example:
        >>> load("iris").train.inputs.shape
        torch.Size([100, 4])
    """
    loader = REGISTRY.find(name)
    called = f"data {name!r}" if isinstance(name, str) else f"data of type {type(name).__name__}"
    checked = validate(loader, settings, called)
    if directory is not None:
        check_directory(Path(directory).expanduser(), "the data directory")
    loaded = _loaded(called, lambda: loader(directory, download, seed, **checked))
    if not isinstance(loaded, DataSet):
        raise UserMistake(f"{called} gave a {type(loaded).__name__}, expected a biograd.data.DataSet")
    return loaded


def _loaded(called: str, load: Callable[[], Any]) -> Any:
    """What a loader gives; of what it made that cannot be trained on, the line says whose it is."""
    try:
        return load()
    except DataUnavailable:  # names its folder
        raise
    except UserMistake as mistake:
        raise UserMistake(f"{called}: {mistake}", mistake.lines) from None


@dataclass(frozen=True)
class Description:
    """What there is to know of a data set: its card (None for a third-party set without one) and settings."""

    name: str
    summary: str
    card: Card | None
    settings: list[Setting]


def describe(name: str) -> Description:
    """Say what a data set is, without loading it.

    Example:
        >>> describe("mnist").card.train
        60000
    """
    loader = REGISTRY.find(name)
    summary = (inspect.getdoc(loader) or "").partition("\n")[0]
    return Description(name, summary, _card(name), describe_settings(loader))


@dataclass(frozen=True)
class Cached:
    """One row of what a folder holds: ``bytes`` is the size on disk, ``folder`` None for sets without files."""

    name: str
    state: Literal["present", "partial", "absent", "embedded"]
    folder: Path | None
    bytes: int


def cached(directory: str | Path | None = None) -> list[Cached]:
    """Which data sets are at hand in a folder, one row a set; nothing is downloaded or read.

    Args:
        directory: as for `load`.

    Raises:
        DataUnavailable: the folder does not exist or is a file.
    """
    root = data_directory(directory)
    return [_cached(name, root) for name in names() if _card(name) is not None]


def _cached(name: str, root: Path) -> Cached:
    card = _card(name)
    if card is None or card.source is None:
        return Cached(name, "embedded", None, 0)
    folder = find_folder(root, card.source)
    held = held_bytes(folder, card.source)
    missing = missing_files(folder, card.source)
    return Cached(name, "partial" if missing and held else "absent" if missing else "present", folder, held)


def _card(name: str) -> Card | None:
    """The module constant ``CARD`` beside the loader; a third-party set need not have one."""
    card = vars(sys.modules[REGISTRY.find(name).__module__]).get("CARD")
    return card if isinstance(card, Card) else None
