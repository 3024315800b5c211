"""Files that stay whole whenever the process dies: replaced in one step, or appended line by line."""

import contextlib
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from biograd.errors import UserMistake, unreadable, unwritable
from biograd.records.places import read_bytes, refuse_packed
from biograd.records.schema import Json, is_nested_deeper

DEEPEST = 32
"""Levels of objects and lists within each other that a record may have: ours have six."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``, and put it in place when the block ends well.

    Whoever reads ``path`` sees the old file or the new one, never a part; after an error the old file is
    as it was and the temporary one is gone.

    Raises:
        RunFailed: the file cannot be written: a full disk, say, or no permission.
        UserMistake: it would lie in a packed file.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "note.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [path.name for path in folder.iterdir()]
        ['note.txt']
    """
    path = Path(path)
    refuse_packed(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    with contextlib.suppress(OSError):  # not every file system can sync a folder; the file is whole anyway
        _sync(path.parent)


def atomic_write(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Replace the file at ``path`` by ``content`` (text as UTF-8) in one step, as `replacing` does.

    Raises:
        RunFailed: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Replace the file at ``path`` by ``value`` as JSON in one step; NaN and infinity become null.

    Raises:
        RunFailed: the file cannot be written.
    """
    atomic_write(path, json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Json:
    """The JSON object in the file at ``path``, which may lie in a packed file.

    Raises:
        UserMistake: there is no such file, or it holds no JSON object.
        RunFailed: the disk or the file system refuses.
    """
    try:
        return parse(read_bytes(path))
    except OSError as error:
        raise unreadable(path, error, "a run's record") from None
    except ValueError as error:
        raise UserMistake(f"{path}: {error}; restore the file or remove the run's folder") from None


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, and those that it lies in, where there is none.

    Raises:
        RunFailed: it cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def append_line(path: str | os.PathLike[str], row: Mapping[str, Any], *, durable: bool = False) -> None:
    """Append ``row`` as one line of JSON; NaN and infinity become null.

    After a crash, call `truncate_lines` first: it drops a line that was torn.

    Args:
        path: the file, made when it is missing.
        row: what to write.
        durable: wait until the line is on the disk, so that it survives a power cut and not only a kill.

    Raises:
        RunFailed: the line cannot be written; the lines before it are as they were.
        UserMistake: the file would lie in a packed one.
    """
    refuse_packed(Path(path).parent)
    line = (json.dumps(_plain(row), allow_nan=False) + "\n").encode()
    try:
        with open(path, "ab", buffering=0) as file:
            before = file.tell()
            try:
                _write_all(file.fileno(), line)
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(before)
                raise
            if durable:
                os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error


def read_lines(path: str | os.PathLike[str], *, is_whole: bool = False) -> list[Json]:
    """The rows of a file that `append_line` wrote, packed since or not; none when there is no file.

    The last line may be torn, by a kill in the middle of writing it, and is then left out.

    Args:
        path: the file.
        is_whole: nobody was killed while writing it, so that a torn line is damaged too.

    Raises:
        UserMistake: any other line is not a JSON object; the message names the file and the line.
    """
    return [row for _, row in _lines(Path(path), is_whole)]


def truncate_lines(path: str | os.PathLike[str], keep: Callable[[Json], bool]) -> None:
    """Keep the lines whose rows ``keep`` accepts, byte for byte, and drop a torn last one; in one step.

    Raises:
        UserMistake: a line other than the last is not a JSON object.
        RunFailed: the file cannot be written.
    """
    path = Path(path)
    if path.exists():
        atomic_write(path, b"".join(line + b"\n" for line, row in _lines(path) if keep(row)))


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files that a killed `replacing` left in ``folder``.

    Only for a folder that no other process is writing to.
    """
    for leftover in Path(folder).glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def _lines(path: Path, is_whole: bool = False) -> list[tuple[bytes, Json]]:
    try:
        raw = read_bytes(path).split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(path, error, "lines of JSON") from None
    numbered = [(number, line) for number, line in enumerate(raw, start=1) if line.strip()]
    rows = []
    for number, line in numbered:
        try:
            rows.append((line, parse(line)))
        except ValueError as error:
            if number == numbered[-1][0] and not is_whole:
                break
            message = f"{path} line {number}: {error}; restore the file or remove the run's folder"
            raise UserMistake(message) from None
    return rows


def parse(text: bytes) -> Json:
    """A JSON object, in which NaN and infinity, if something else wrote them, read as null.

    Raises:
        ValueError: it is none, an object in it has a key twice, or it is nested so deeply that it would end in a
            `RecursionError` somewhere behind.
    """
    try:
        value = json.loads(text, parse_constant=lambda _: None, object_pairs_hook=_each_key_once)
    except _Twice as error:
        raise ValueError(str(error)) from None
    except (ValueError, RecursionError):
        raise ValueError("not valid JSON") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    if is_nested_deeper(value, DEEPEST):
        raise ValueError(f"objects and lists lie in each other more than {DEEPEST} levels deep")
    return value


class _Twice(ValueError):
    """A key that an object has two values under."""


def _each_key_once(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice("an object has a key twice, so that it does not say which value is meant")
    return found


def _plain(value: Any) -> Any:
    """``value`` as JSON can hold it: paths as text, tuples as lists, NaN and infinity as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, os.PathLike) else value


def _write_all(descriptor: int, data: bytes) -> None:
    """``os.write`` may take a part only, when the disk fills up; go on until it takes all or fails."""
    while data:
        data = data[os.write(descriptor, data) :]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
