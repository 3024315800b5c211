"""What was measured of a run under attack: one file in its folder, a measurement a setting."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from biograd.errors import RunFailed, UserMistake
from biograd.records.files import Row, read_json, write_json
from biograd.records.places import exists, refuse_packed

MEASUREMENTS = "robustness.json"

_LOCK = f".{MEASUREMENTS}.lock"


def read_measurements(folder: str | os.PathLike[str]) -> list[Row]:
    """The measurements in a run's folder, the newest last; none when there is no file.

    Raises:
        UserMistake: the file is corrupted.
    """
    return _content(Path(folder))["measurements"]


def add_measurement(folder: str | os.PathLike[str], measurement: Mapping[str, Any]) -> Row:
    """Add a measurement to a run's folder, in one step, in the place of one that was made alike.

    Alike are those of one ``key`` (a fingerprint of the settings) and one ``source`` of transferred examples. Others
    are kept, and none is ever mixed with another.

    Returns:
        The measurement, with ``test_reads``: how often the run's test set has been read by now, once by training.

    Raises:
        UserMistake: the file is corrupted, or packed.
        RunFailed: it cannot be written.
    """
    refuse_packed(folder)
    with _alone(Path(folder)):
        content = _content(Path(folder))
        content["reads"] += 1
        row = {**measurement, "test_reads": 1 + content["reads"]}
        others = [one for one in content["measurements"] if _identity(one) != _identity(row)]
        write_json(Path(folder) / MEASUREMENTS, {**content, "measurements": [*others, row]})
    return row


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let processes that add to one file at the same time do so one after the other, so that none is lost."""
    try:
        with open(folder / _LOCK, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise RunFailed(f"cannot write to {folder}: {error.strerror}; what was there is as it was") from error


def _content(folder: Path) -> Row:
    path = folder / MEASUREMENTS
    content = read_json(path) if exists(path) else {"reads": 0, "measurements": []}
    if not isinstance(content.get("measurements"), list) or not isinstance(content.get("reads"), int):
        raise UserMistake(f"{path} is no record of attacks: restore it, or remove it and measure again")
    return content


def _identity(measurement: Mapping[str, Any]) -> tuple[Any, Any]:
    return measurement["key"], measurement["source"]
