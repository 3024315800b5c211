"""From what a file holds to rows: each file is read as it is, then held against its row's declaration."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from biograd.errors import UserMistake
from biograd.records.files import read_json, read_lines
from biograd.records.places import exists
from biograd.records.schema import checked

_Row = TypeVar("_Row")

RESTORE = "restore the file or remove the run's folder"
"""What can be done about a damaged file of a run."""


def read_row(path: str | os.PathLike[str], kind: type[_Row], advice: str = RESTORE) -> _Row:
    """The row in a file of one JSON object.

    Args:
        path: of the file.
        kind: of the row.
        advice: what to do about a file that holds none.

    Raises:
        UserMistake: there is no such file, or it holds no such row.
    """
    return as_row(path, kind, read_json(path), advice)


def read_rows(path: str | os.PathLike[str], kind: type[_Row]) -> list[_Row]:
    """The rows in a file of lines of JSON, none when there is no file.

    Raises:
        UserMistake: a line holds no such row; the message names the file and the row, counted from 0.
    """
    return as_row(path, list[kind], read_lines(path), RESTORE)


def as_row(path: str | os.PathLike[str], kind: type[_Row], value: object, advice: str) -> _Row:
    """What a file holds as a row, or as a list of rows.

    Raises:
        UserMistake: it is none; the message names the file.
    """
    try:
        return checked(kind, value)
    except ValueError as error:
        raise UserMistake(f"{path}: {error}; {advice}") from None


def if_there(read: Callable[[Path], _Row], path: Path, otherwise: _Row) -> _Row:
    """What a file holds, or something else where there is none; a folder in its place is none that can be read."""
    return read(path) if exists(path) or path.exists() else otherwise
