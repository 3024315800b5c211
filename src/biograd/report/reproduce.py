"""From a run's configuration back to the command that makes the run."""

import shlex
from collections.abc import Mapping
from typing import Any

from biograd.records import Cell
from biograd.report.table import Table

_OF_THIS_MACHINE = ("seed", "data_dir", "track")


def command(config: Mapping[str, Any], seed: int | str) -> str:
    """The command line that repeats a run of this configuration, ready for a POSIX shell.

    Example:
        >>> rule = {"name": "fa", "settings": {"scale": 0.5}}
        >>> command({"rule": rule, "net": {"name": "my net.py:N", "settings": {}}, "batch_size": 100}, 3)
        "biograd train --rule fa --rule.scale 0.5 --net 'my net.py:N' --batch-size 100 --seed 3"
    """
    words: list[str] = []
    for key, value in config.items():
        if key == "observe":
            words += [word for observer in value for word in _observer_flags(observer)]
        elif key not in _OF_THIS_MACHINE:
            words += _flags(key, value)
    return " ".join(["biograd train", *map(shlex.quote, words), "--seed", str(seed)])


def script(table: Table) -> str:
    """Commands that repeat every run: one for each cell, in a loop where it has several seeds."""
    return "\n".join(_of_cell(cell) for cell in table.cells)


def _of_cell(cell: Cell) -> str:
    config = cell.runs[0].config
    if len(cell.seeds) == 1:
        return command(config, cell.seeds[0])
    seeds = " ".join(map(str, cell.seeds))
    repeated = command(config, '"$seed"')
    return f"for seed in {seeds}; do {repeated}; done"


def _flags(key: str, value: Any) -> list[str]:
    """A choice becomes its name and a flag for each setting; what is not given needs no flag."""
    flag = f"--{key.replace('_', '-')}"
    if isinstance(value, Mapping):
        settings = value.get("settings")
        settings = settings if isinstance(settings, Mapping) else {}
        nested = [word for name, item in settings.items() for word in _flags(f"{key}.{name}", item)]
        return [flag, str(value["name"]), *nested] if "name" in value else nested
    return [] if value is None else [flag, _spell(value)]


def _observer_flags(observer: Mapping[str, Any]) -> list[str]:
    """One of several names is typed by itself, and its settings after the last part of it."""
    name = str(observer["name"])
    owner = f"observe.{name.rpartition(':')[2]}"
    settings = observer.get("settings", {}).items()
    return ["--observe", name, *(word for key, item in settings for word in _flags(f"{owner}.{key}", item))]


def _spell(value: Any) -> str:
    """A value as a command line takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(_spell, value))
    return str(value)
