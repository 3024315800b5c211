"""What a search leaves: ``search.json`` of each rule, beside the runs that are its trials."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from typing_extensions import TypedDict

from biograd.errors import UserMistake
from biograd.records.file_names import CONFIG, SEARCH
from biograd.records.places import exists, find, folders, is_folder
from biograd.records.reading import read_row
from biograd.records.run import Run
from biograd.records.schema import Count, Json, Number, Time, number, row
from biograd.records.summary import flatten
from biograd.tasks import METRICS, metric_of

ADVICE = "run biograd tune again in another folder, or remove the file"


@row
class Search(TypedDict):
    """``search.json``: what is searched for one rule, and under which budget."""

    rule: str
    """What tables call it."""
    sampler: str
    """``sobol``, or ``tpe``, which is not for ranking."""
    trials: Count
    epochs: Count
    """Of a trial."""
    seed: Count
    """Of the points and of every trial."""
    space: dict[str, str]
    """What is searched, by dotted name, and over which range, in words."""


@row
class TrialRow(TypedDict):
    """One point of a search, and what training there came to."""

    rule: str
    data: str
    """The data set's name; of a binary task, with the class that is told from the rest."""
    net: str
    trial: Count
    """From 0, in the order of the points."""
    seed: Count
    settings: Json
    """The value of each name of the space."""
    epochs: Count
    """That were finished."""
    metric: str
    """The entry of ``result.json`` that chooses, of the validation part: the first metric of the task."""
    value: Number | None
    """Of the metric at the end; None where the run diverged."""
    loss: Number | None
    """The same of the loss."""
    status: str
    """``done``, or why there is no value; ``unfinished`` while it is trained."""
    seconds: Time | None


class Trials(NamedTuple):
    """A search and its trials, those that have begun, in their order."""

    search: Search
    rows: list[TrialRow]

    @property
    def done(self) -> list[TrialRow]:
        """The trials that have ended, in their order, those that diverged included."""
        return [one for one in self.rows if one["status"] != "unfinished"]

    @property
    def best(self) -> TrialRow | None:
        """The best trial so far; of equal ones that with the smaller loss, then the first."""
        return min((one for one in self.rows if one["value"] is not None), key=_rank, default=None)


def read_trials(folder: str | os.PathLike[str]) -> Trials:
    """A search of one rule.

    Args:
        folder: with its ``search.json``, and a run for each trial.

    Raises:
        UserMistake: there is none, or a record is damaged.
    """
    search = read_row(Path(folder) / SEARCH, Search, ADVICE)
    runs = {int(place.name): place for place in folders(folder) if place.name.isdigit()}
    begun = {trial: Run.load(place) for trial, place in sorted(runs.items()) if exists(place / CONFIG)}
    return Trials(search, [_row(search, trial, run) for trial, run in begun.items()])


def find_trials(directory: str | os.PathLike[str]) -> list[Trials]:
    """The searches at or below a folder, sorted by folder; none where there is none.

    Raises:
        UserMistake: there is no such folder, or a record is damaged.
    """
    if not is_folder(directory):
        raise UserMistake(f"there is no folder {directory}; give one that holds runs")
    return [read_trials(path.parent) for path in find(directory, SEARCH)]


def _rank(trial: TrialRow) -> tuple[float, float, int]:
    """By which trials are ordered, the best first."""
    metric, value, loss = metric_of(trial["metric"]), trial["value"], trial["loss"]
    is_cost = metric is not None and metric.smaller_is_better
    worst = math.inf
    return (
        worst if value is None else value if is_cost else -value,
        worst if loss is None else loss,
        trial["trial"],
    )


def _row(search: Search, trial: int, run: Run) -> TrialRow:
    result: Mapping[str, object] = run.result or {}
    settings, metric = flatten(run.config), f"validation_{METRICS[run.kind][0].name}"
    return {
        "rule": search["rule"],
        "data": run.task,
        "net": run.net,
        "trial": trial,
        "seed": run.seed,
        "settings": {name: settings.get(name) for name in search["space"]},
        "epochs": run.epochs_done,
        "metric": metric,
        "value": number(result, metric) if run.status == "done" else None,
        "loss": number(result, "validation_loss"),
        "status": run.status,
        "seconds": number(result, "seconds"),
    }
