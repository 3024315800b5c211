"""A folder of runs into one file and back: every record byte for byte, and nothing else."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from biograd.errors import UserMistake, unreadable
from biograd.records import packed
from biograd.records.files import atomic_write, make_folder
from biograd.records.places import read_packed, unpacked


@dataclass(frozen=True)
class Packed:
    """What `pack` did.

    Attributes:
        file: the packed file.
        records: how many it holds.
        runs: how many runs they are of.
        unfinished: how many of those have no result, and stay unfinished.
        text: bytes of the records.
        size: bytes of the file.
        left_out: how many files of the folder are no records, by their names.
    """

    file: Path
    records: int
    runs: int
    unfinished: int
    text: int
    size: int
    left_out: dict[str, int]


def pack(
    folder: str | os.PathLike[str], file: str | os.PathLike[str] | None = None, *, replace: bool = False
) -> Packed:
    """Pack the records at and below a folder into one file, which can be read in the folder's place.

    Records are its ``.json`` and ``.jsonl`` files. All else is left out: checkpoints, figures, what is hidden, links.
    The folder stays, and a file that holds the same records already is not written again.

    Args:
        folder: of a run, a comparison, a study or a simulation.
        file: its name ends in ``.records.xz``; None for the folder's name with that, beside it.
        replace: write over a file that holds other records.

    Raises:
        UserMistake: there is nothing to pack or it cannot be packed, or the file holds other records.
        RunFailed: the file cannot be written.
    """
    folder = Path(folder)
    file = _beside(folder) if file is None else Path(file)
    _refuse_name(file)
    content, left_out = _read(folder)
    try:
        raw = packed.encode(content)
    except ValueError as error:
        raise UserMistake(f"{folder} cannot be packed: {error}") from None
    if not (file.exists() and _holds(file, content, replace)):
        atomic_write(file, raw)
    runs = {name.rpartition("/")[0] for name in content if _last(name) == "config.json"}
    finished = {name.rpartition("/")[0] for name in content if _last(name) == "result.json"}
    text = sum(map(len, content.values()))
    return Packed(file, len(content), len(runs), len(runs - finished), text, file.stat().st_size, left_out)


def unpack(file: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> tuple[Path, int]:
    """Write the records of a packed file into a folder, byte for byte as they were packed.

    Records that are there already are kept, so that it can be called again after it was stopped.

    Args:
        file: what `pack` wrote.
        folder: where to; None for the file's name without its ending, beside it.

    Returns:
        The folder, and how many records the file holds.

    Raises:
        UserMistake: it is no packed file, or another file lies where a record belongs; nothing is written then.
        RunFailed: a record cannot be written.
    """
    file = Path(file)
    _refuse_name(file)
    content = read_packed(file)
    folder = unpacked(file) if folder is None else Path(folder)
    missing = [name for name in content if not _is_there(folder, name, content[name])]
    for name in missing:
        make_folder((folder / name).parent)
        atomic_write(folder / name, content[name])
    return folder, len(content)


def _read(folder: Path) -> tuple[dict[str, bytes], dict[str, int]]:
    """The records of a folder, and what else is in it, counted by name, the most frequent first."""
    files = _files(folder)
    records = {path: name for path, name in files.items() if _is_record(path, name)}
    if not records:
        raise UserMistake(f"{folder} holds no records (.json, .jsonl): give a folder that train, say, wrote")
    size = sum(path.stat().st_size for path in records)
    if size > packed.LARGEST:
        raise UserMistake(
            f"the records of {folder} have {size:,} bytes, more than the {packed.LARGEST:,} of a packed file: pack "
            "the folders in it"
        )
    left_out = Counter(path.name for path in files if path not in records)
    return {name: _content(path) for path, name in records.items()}, dict(left_out.most_common())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error, "a record") from error


def _files(folder: Path) -> dict[Path, str]:
    """The files at and below a folder, with their names in it."""
    if not folder.is_dir():
        raise UserMistake(f"there is no folder {folder}; give one that holds runs")
    files = {
        path: path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }
    for path in files:
        if path.name.endswith(packed.SUFFIX):
            raise UserMistake(f"{path} is packed already: unpack it, or give a folder without packed files")
    return files


def _is_record(path: Path, name: str) -> bool:
    visible = not any(part.startswith(".") for part in name.split("/"))
    return visible and name.endswith(packed.RECORDS) and path.is_file() and not path.is_symlink()


def _holds(file: Path, content: Mapping[str, bytes], replace: bool) -> bool:
    """Whether a file holds these records.

    Raises:
        UserMistake: it holds anything else, and is not to be replaced.
    """
    try:
        there = read_packed(file)
    except UserMistake:
        there = None
    if there != content and not replace:
        raise UserMistake(f"{file} is there with other content: give another file, or --replace it")
    return there == content


def _is_there(folder: Path, name: str, content: bytes) -> bool:
    """Whether a record lies in a folder already.

    Raises:
        UserMistake: something else does, or its place is elsewhere, behind a link.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserMistake(f"{path} leads out of {folder} by a link: give another folder")
    there = next(place for place in (path, *path.parents) if place.exists())
    if there != path and there.is_dir():
        return False
    if not there.is_file() or there != path or _content(path) != content:
        raise UserMistake(f"{there} is there with other content: give another folder, or move it away")
    return True


def _beside(folder: Path) -> Path:
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return named.with_name(f"{named.name}{packed.SUFFIX}")


def _refuse_name(file: Path) -> None:
    if not file.name.endswith(packed.SUFFIX) or file.name == packed.SUFFIX:
        raise UserMistake(f"{file} does not end in {packed.SUFFIX}, by which packed files are known")


def _last(name: str) -> str:
    return name.rpartition("/")[2]
