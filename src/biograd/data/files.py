"""Where data lies: which folder is meant, and which official files are in it. Nothing is fetched here."""

import contextlib
import gzip
import os
from collections.abc import Iterator
from pathlib import Path

from biograd.data.card import Source
from biograd.errors import DataUnavailable, unreadable

VARIABLE = "BIOGRAD_DATA"


def data_directory(directory: str | Path | None) -> Path:
    """The folder that holds data sets: the argument, else ``$BIOGRAD_DATA``, else the user's cache folder.

    The cache folder need not exist yet.

    Raises:
        DataUnavailable: a folder was named, and is not there or is a file.
    """
    if directory is not None:
        return check_directory(Path(directory).expanduser(), "the data directory")
    named = os.environ.get(VARIABLE)
    if named:
        return check_directory(Path(named).expanduser(), f"${VARIABLE}")
    import pooch

    return Path(pooch.os_cache("biograd"))


def check_directory(path: Path, what: str) -> Path:
    """Return ``path`` where it is a folder.

    Raises:
        DataUnavailable: it is not; ``what`` says who named it.
    """
    if not path.exists():
        raise DataUnavailable(
            f"{what} {path} does not exist: make it, or name the folder that holds the data"
        )
    if not path.is_dir():
        raise DataUnavailable(f"{what} {path} is a file: name the folder that holds the data")
    return path


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file that cannot be read.

    Raises:
        UserMistake: there is no such file.
        RunFailed: the disk or the file system refuses.
    """
    try:
        yield
    except gzip.BadGzipFile:  # the file was read, and is none
        raise
    except OSError as error:
        raise unreadable(path, error, "a data set's official file") from error


def find_folder(root: Path, source: Source) -> Path:
    """The folder that holds the most of a set's files, or the usual one where there are none."""
    folders = [root / folder for folder in source.folders]
    # Several sets use the same file names, so the root itself counts only where its name says which it is.
    if any(_ends_with(root, folder) for folder in source.folders):
        folders.append(root)
    return min(folders, key=lambda folder: len(missing_files(folder, source)))


def _ends_with(root: Path, folder: str) -> bool:
    last = [part.lower() for part in Path(folder).parts]
    return [part.lower() for part in root.absolute().parts[-len(last) :]] == last


def held_file(folder: Path, name: str) -> Path | None:
    """The path of an official file, unpacked where it is there unpacked; None where it is not there."""
    candidates = [folder / name.removesuffix(".gz"), folder / name]
    return next((path for path in candidates if path.is_file()), None)


def missing_files(folder: Path, source: Source) -> list[str]:
    """The official files that are not in ``folder``, packed or unpacked."""
    return [name for name in source.files if held_file(folder, name) is None]


def held_bytes(folder: Path, source: Source) -> int:
    """The size on disk of the official files that are in ``folder``."""
    held = (held_file(folder, name) for name in source.files)
    return sum(path.stat().st_size for path in held if path is not None)
