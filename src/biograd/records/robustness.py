"""What was measured of a run under attack: one file in its folder, a measurement a setting."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biograd.errors import UserMistake
from biograd.records.files import Row, read_json, write_json

MEASUREMENTS = "robustness.json"


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
        UserMistake: the file is corrupted.
        RunFailed: it cannot be written.
    """
    content = _content(Path(folder))
    content["reads"] += 1
    row = {**measurement, "test_reads": 1 + content["reads"]}
    others = [one for one in content["measurements"] if _identity(one) != _identity(row)]
    write_json(Path(folder) / MEASUREMENTS, {**content, "measurements": [*others, row]})
    return row


def _content(folder: Path) -> Row:
    path = folder / MEASUREMENTS
    content = read_json(path) if path.exists() else {"reads": 0, "measurements": []}
    if not isinstance(content.get("measurements"), list) or not isinstance(content.get("reads"), int):
        raise UserMistake(f"{path} is no record of attacks: restore it, or remove it and measure again")
    return content


def _identity(measurement: Mapping[str, Any]) -> tuple[Any, Any]:
    return measurement["key"], measurement["source"]
