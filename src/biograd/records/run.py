"""A run's folder as one value."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biograd.errors import UserMistake
from biograd.records.files import Row, read_json, read_lines
from biograd.records.places import exists, find, is_folder


@dataclass(frozen=True)
class Run:
    """Everything that one training left behind.

    Attributes:
        folder: where it lies; for display and order a path too where it is packed.
        config: ``config.json``; rule, data and net are mappings with a ``name``.
        environment: ``environment.json``, empty when the run was stopped before it was written.
        metrics: the lines of ``metrics.jsonl``, one an epoch.
        diagnostics: the lines of ``diagnostics.jsonl``, empty when nothing was measured.
        result: ``result.json``, None while the run is unfinished.
    """

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any] = field(default_factory=dict)
    metrics: list[Row] = field(default_factory=list)
    diagnostics: list[Row] = field(default_factory=list)
    result: dict[str, Any] | None = None

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Run":
        """Read a run's folder, finished or not.

        Raises:
            UserMistake: it is no run's folder, or a record is corrupted.
        """
        folder = Path(folder)
        if not exists(folder / "config.json"):
            raise UserMistake(
                f"{folder} is no run's folder: it has no config.json; give one that train wrote"
            )
        run = cls(
            folder=folder,
            config=read_json(folder / "config.json"),
            environment=_read_if_there(folder / "environment.json") or {},
            metrics=read_lines(folder / "metrics.jsonl"),
            diagnostics=read_lines(folder / "diagnostics.jsonl"),
            result=_read_if_there(folder / "result.json"),
        )
        run._check()
        return run

    @property
    def rule(self) -> str:
        """The rule's name."""
        return self.config["rule"]["name"]

    @property
    def label(self) -> str:
        """What the run was called, the rule's name where it was given no label."""
        return self.config.get("label") or self.rule

    @property
    def data(self) -> str:
        """The data set's name."""
        return self.config["data"]["name"]

    @property
    def task(self) -> str:
        """The data set's name, and the class that is told from the rest of them where the task is binary."""
        single = self.config.get("one_vs_rest")
        return self.data if single is None else f"{self.data} {single} vs rest"

    @property
    def net(self) -> str:
        """The net's name."""
        return self.config["net"]["name"]

    @property
    def seed(self) -> int:
        """The seed that everything random of the run came from."""
        return self.config["seed"]

    @property
    def status(self) -> str:
        """``done``, ``diverged``, or ``unfinished`` while there is no result."""
        return "unfinished" if self.result is None else self.result["status"]

    @property
    def epochs_done(self) -> int:
        """How many epochs are in the metrics."""
        return len(self.metrics)

    def _check(self) -> None:
        path = self.folder / "config.json"
        for key in ("rule", "data", "net"):
            choice = self.config.get(key)
            if not isinstance(choice, dict) or not isinstance(choice.get("name"), str):
                raise UserMistake(f"{path} is not the configuration of a run: it names no {key}")
        if not isinstance(self.config.get("seed"), int):
            raise UserMistake(f"{path} is not the configuration of a run: its seed is no integer")
        if self.result is not None and not isinstance(self.result.get("status"), str):
            raise UserMistake(f"{self.folder / 'result.json'} is not the result of a run: it has no status")


def find_runs(directory: str | os.PathLike[str]) -> list[Run]:
    """Every run at or below ``directory``, sorted by folder; a run's folder is one with a config.json.

    Args:
        directory: a folder, in which runs may be packed, or a packed file.

    Raises:
        UserMistake: there is no such directory, or a record is corrupted.
    """
    if not is_folder(directory):
        raise UserMistake(f"there is no folder {directory}; give one that holds runs")
    return [Run.load(path.parent) for path in find(directory, "config.json")]


def _read_if_there(path: Path) -> dict[str, Any] | None:
    return read_json(path) if exists(path) else None
