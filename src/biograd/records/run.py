"""A run's folder as one value."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from biograd.errors import UserMistake
from biograd.records.file_names import CONFIG, DIAGNOSTICS, ENVIRONMENT, METRICS, RESULT, ROBUSTNESS, SEARCH
from biograd.records.files import read_json, read_lines
from biograd.records.places import exists, find, is_folder
from biograd.records.reading import RESTORE, as_row, if_there
from biograd.records.robustness import Measurement, measurements_of
from biograd.records.rows import Configuration, DiagnosticsRow, Environment, EpochRow, Result
from biograd.records.schema import number
from biograd.tasks import AUTO, USUAL_LOSS, Kind, metric_of

_Row = TypeVar("_Row")

REFERENCE = "bp"
"""The rule that all others stand beside."""

OWN = "own"
"""The family of a rule that says nothing of one, or of which no run has ended yet."""


@dataclass(frozen=True)
class Run:
    """Everything that one training left behind.

    Attributes:
        folder: where it lies; for display and order a path too where it is packed.
        config: ``config.json``.
        environment: ``environment.json``, empty when the run was stopped before it was written.
        metrics: the lines of ``metrics.jsonl``, one an epoch.
        diagnostics: the lines of ``diagnostics.jsonl``, empty when nothing was measured.
        result: ``result.json``, None while the run is unfinished.
        measurements: those of ``robustness.json``, the newest last, empty when it was not attacked.
    """

    folder: Path
    config: Configuration
    environment: Environment = field(default_factory=Environment)
    metrics: list[EpochRow] = field(default_factory=list)
    diagnostics: list[DiagnosticsRow] = field(default_factory=list)
    result: Result | None = None
    measurements: list[Measurement] = field(default_factory=list)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Run":
        """Read a run's folder, finished or not.

        Raises:
            UserMistake: it is no run's folder, or a record is damaged; the message names the file.
        """
        folder = Path(folder)
        if not (exists(folder / CONFIG) or (folder / CONFIG).exists()):
            raise UserMistake(f"{folder} is no run's folder: it has no {CONFIG}; give one that train wrote")
        return cls.of(folder, _contents(folder))

    @classmethod
    def of(cls, folder: Path, contents: Mapping[str, object]) -> "Run":
        """A run of what its files hold, each held against its declaration.

        Args:
            folder: where it lies.
            contents: the object of a file, or the list of those of its lines, by the file's name; what a run need
                not have may be missing or None.

        Raises:
            UserMistake: one of them is no record of a run.
        """
        attacks = contents.get(ROBUSTNESS)
        return cls(
            folder=folder,
            config=as_row(folder / CONFIG, Configuration, contents.get(CONFIG), RESTORE),
            environment=_checked(folder / ENVIRONMENT, Environment, contents) or {},
            metrics=_checked(folder / METRICS, list[EpochRow], contents) or [],
            diagnostics=_checked(folder / DIAGNOSTICS, list[DiagnosticsRow], contents) or [],
            result=_checked(folder / RESULT, Result, contents),
            measurements=[] if attacks is None else measurements_of(folder / ROBUSTNESS, attacks),
        )

    @property
    def rule(self) -> str:
        """The rule's name."""
        return self.config["rule"]["name"]

    @property
    def exact_inside(self) -> str | None:
        """What says that the rule let errors pass exactly inside blocks, ``inside=exact`` or its cut points."""
        settings = self.config["rule"].get("settings", {})
        if settings.get("inside"):
            return f"inside={settings['inside']}"
        return f"blocks={' '.join(settings['blocks'])}" if settings.get("blocks") else None

    @property
    def family(self) -> str:
        """What kind of rule it is, where the run has ended and says so."""
        return (self.result or {}).get("family", OWN)

    @property
    def label(self) -> str:
        """What the run was called, the rule's name where it was given no label."""
        return self.config.get("label") or self.rule

    @property
    def data(self) -> str:
        """The data set's name."""
        return self.config["data"]["name"]

    @property
    def one_vs_rest(self) -> str | None:
        """The class that is told from the rest, None where all classes are told apart."""
        return self.config.get("one_vs_rest")

    @property
    def task(self) -> str:
        """The data set's name, and the class that is told from the rest of them where the task is binary."""
        single = self.one_vs_rest
        return self.data if single is None else f"{self.data} {single} vs rest"

    @property
    def kind(self) -> Kind:
        """What the net is to answer; in older runs, which do not say so, classes."""
        return (self.result or {}).get("task") or self.environment.get("task", "classes")

    @property
    def loss(self) -> str:
        """What is minimised, where the configuration leaves it to the task too."""
        named = self.config.get("loss", AUTO)
        name = named if isinstance(named, str) else named["name"]
        return USUAL_LOSS[self.kind] if name == AUTO else name

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
    def stopped(self) -> str | None:
        """Which observer ended it before its last epoch, and why; None for a run that ended by itself, or has not."""
        return (self.result or {}).get("stopped")

    def best_of_epochs(self, entry: str) -> float | None:
        """The best that any epoch has of a metric, by its entry; None where no epoch has it.

        Of the test set this is a number that was chosen by what it measures, as some papers report it: to stand beside
        theirs, and for nothing else.
        """
        metric, values = metric_of(entry), [number(row, entry) for row in self.metrics]
        found = [value for value in values if value is not None]
        is_cost = metric is None or metric.smaller_is_better
        return (min if is_cost else max)(found, default=None)

    @property
    def epochs_done(self) -> int:
        """How many epochs are in the metrics."""
        return len(self.metrics)


class Found(NamedTuple):
    """What there is below a folder.

    Attributes:
        runs: those that can be read, sorted by folder.
        left_out: a line for each that cannot: which file is wrong, what came, what was expected and what to do.
    """

    runs: list[Run]
    left_out: list[str]


def find_runs(directory: str | os.PathLike[str]) -> list[Run]:
    """Every run at or below ``directory`` that can be read, sorted by folder; others are left out with a warning.

    The trials of a search are no runs of a table, unless ``directory`` is that of the search or of a trial; see
    `biograd.records.find_trials`.

    Args:
        directory: a folder, in which runs may be packed, or a packed file.

    Raises:
        UserMistake: there is no such directory, or it holds runs of which none can be read.
    """
    return search(directory).runs


def search(directory: str | os.PathLike[str]) -> Found:
    """As `find_runs`, and what was left out.

    Raises:
        UserMistake: as there.
    """
    if not is_folder(directory):
        raise UserMistake(f"there is no folder {directory}; give one that holds runs")
    runs: list[Run] = []
    mistakes: list[UserMistake] = []
    places = [path for path in find(directory, CONFIG) if not _is_trial_below(Path(directory), path.parent)]
    for path in places:
        try:
            runs.append(Run.load(path.parent))
        except UserMistake as mistake:
            mistakes.append(mistake)
    if mistakes and not runs:
        raise mistakes[0]
    for mistake in mistakes:
        warnings.warn(f"left out: {mistake}", stacklevel=2)
    return Found(runs, list(map(str, mistakes)))


def _is_trial_below(directory: Path, folder: Path) -> bool:
    """Whether a run is a trial of a search whose folder lies below the one that is asked of."""
    return (
        folder not in (directory, *directory.parents)
        and folder.parent != directory
        and exists(folder.parent / SEARCH)
    )


def _checked(path: Path, kind: type[_Row], contents: Mapping[str, object]) -> _Row | None:
    """What a file holds as a row, None where there is no such file."""
    found = contents.get(path.name)
    return None if found is None else as_row(path, kind, found, RESTORE)


def _contents(folder: Path) -> dict[str, object]:
    """What the files of a run's folder hold, as it is there."""
    single = {
        name: if_there(read_json, folder / name, None) for name in (CONFIG, ENVIRONMENT, RESULT, ROBUSTNESS)
    }
    is_over = single[RESULT] is not None
    lines = {name: read_lines(folder / name, is_whole=is_over) for name in (METRICS, DIAGNOSTICS)}
    return {**single, **lines}
