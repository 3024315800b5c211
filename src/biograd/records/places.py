"""Where records lie: in folders, or in packed files that are read as if they were the folders packed into them.

``results/mnist.records.xz/bp-seed0/config.json`` is the record ``bp-seed0/config.json`` of that file. Whoever reads
records through these functions need not know which it is; nothing is ever written into a packed file.
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from biograd.errors import UserMistake, unreadable
from biograd.records import packed

KEPT_OPEN = 16
"""Packed files whose records stay in memory."""


class _Inside(NamedTuple):
    """A place in a packed file."""

    file: Path
    name: PurePosixPath


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether there is a record at ``path``.

    Raises:
        UserMistake: the packed file that it would lie in is damaged.
    """
    inside = _inside(Path(path))
    return Path(path).is_file() if inside is None else str(inside.name) in _records(inside.file)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether records can lie below ``path``: it is a folder, a packed file, or a folder in one.

    Raises:
        UserMistake: the packed file is damaged.
    """
    inside = _inside(Path(path))
    return Path(path).is_dir() if inside is None else bool(_below(inside))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of the record at ``path``.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        UserMistake: the packed file is damaged.
    """
    inside = _inside(Path(path))
    if inside is None:
        return Path(path).read_bytes()
    try:
        return _records(inside.file)[str(inside.name)]
    except KeyError:
        raise FileNotFoundError(2, "no such record", str(path)) from None


def find(directory: str | os.PathLike[str], name: str) -> list[Path]:
    """Every record of a name at or below ``directory``, in folders and in packed files among them, sorted.

    Raises:
        UserMistake: a packed file is damaged.
    """
    directory = Path(directory)
    inside = _inside(directory)
    if inside is not None:
        return sorted(directory / record for record in _below(inside) if record.split("/")[-1] == name)
    files = [path for path in directory.rglob(f"*{packed.SUFFIX}") if path.is_file()]
    return sorted([*directory.rglob(name), *(found for file in files for found in find(file, name))])


def folders(directory: str | os.PathLike[str]) -> list[Path]:
    """The folders in ``directory``, sorted; none when there is no such place.

    Raises:
        UserMistake: the packed file is damaged.
    """
    directory = Path(directory)
    inside = _inside(directory)
    if inside is None:
        return sorted(path for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []
    return sorted(
        directory / name for name in {record.split("/")[0] for record in _below(inside) if "/" in record}
    )


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is a packed file or lies in one."""
    return _inside(Path(path)) is not None


def unpacked(path: str | os.PathLike[str]) -> Path:
    """Where ``path`` lies, or would lie if the packed file around it were unpacked beside itself.

    What is drawn from records goes there: to the folder of the runs, or for a packed file to one of its name.
    """
    inside = _inside(Path(path))
    if inside is None:
        return Path(path)
    return inside.file.with_name(inside.file.name.removesuffix(packed.SUFFIX)) / inside.name


def refuse_packed(path: str | os.PathLike[str]) -> None:
    """Refuse to write at ``path`` if that lies in a packed file.

    Raises:
        UserMistake: it does.
    """
    inside = _inside(Path(path))
    if inside is not None:
        raise UserMistake(
            f"{path} lies in a packed file, which is only read: biograd unpack {inside.file}, and use the folder"
        )


def read_packed(file: str | os.PathLike[str]) -> dict[str, bytes]:
    """The records of a packed file by their names in it, sorted.

    Raises:
        UserMistake: it cannot be read, or is no packed file.
    """
    if not Path(file).is_file():
        raise UserMistake(f"there is no file {file}; give one that biograd pack wrote")
    return dict(_records(Path(file)))


def _inside(path: Path) -> _Inside | None:
    """The packed file at or above a path, and the way on from there."""
    for depth, part in enumerate(path.parts, start=1):
        if part.endswith(packed.SUFFIX) and (file := Path(*path.parts[:depth])).is_file():
            return _Inside(file, PurePosixPath(*path.parts[depth:]))
    return None


def _below(place: _Inside) -> list[str]:
    """The records below a place in a packed file, by their names from there on."""
    start = "".join(f"{part}/" for part in place.name.parts)
    return [name.removeprefix(start) for name in _records(place.file) if name.startswith(start)]


def _records(file: Path) -> Mapping[str, bytes]:
    try:
        status = file.stat()
        return _opened(file, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise unreadable(file, error, "a packed file") from None
    except ValueError as error:
        raise UserMistake(
            f"{file} is no packed file, or damaged: {error}; restore it, or pack the runs again"
        ) from None


@lru_cache(maxsize=KEPT_OPEN)
def _opened(file: Path, *_version: int) -> Mapping[str, bytes]:
    """The records of a file, read once as long as it does not change."""
    if file.stat().st_size > packed.LARGEST:
        raise ValueError(f"it has more than {packed.LARGEST:,} bytes")
    return packed.decode(file.read_bytes())
