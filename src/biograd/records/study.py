"""What a study found: ``study.json``, its table and its claims."""

import os
from pathlib import Path
from typing import Literal, NotRequired

from typing_extensions import TypedDict

from biograd.records.file_names import STUDY
from biograd.records.reading import if_there, read_row
from biograd.records.schema import Count, Number, row

Unit = Literal["fraction", "degrees", "seconds", "number"]
"""Fractions are shown in percent, their differences in points."""


@row
class Epochs(TypedDict, total=False):
    """Epochs of the shortest run, and how many the full budget or the published number has, where that has more."""

    epochs: Count
    of_epochs: Count


@row
class StudyRow(Epochs):
    """A quantity of a group of cells, measured beside published; numbers are in the unit."""

    group: str
    quantity: str
    unit: Unit
    mean: Number | None
    """Over the seeds that every one of the ``cells`` has, of each the mean over these cells."""
    sd: Number | None
    seeds: Count
    cells: Count
    """That have runs."""
    of_cells: Count
    """That the group has."""
    runs: Count
    unfinished: Count
    diverged: Count
    """Runs that ended without being done."""
    published: Number | None
    published_sd: Number | None
    difference: Number | None
    """Measured less published; None where fewer epochs were trained than the full budget's."""
    source: str | None
    """Whose the published number is."""


@row
class Caveat(TypedDict):
    """A quantity that speaks against a measurement."""

    quantity: str
    unit: Unit
    mean: Number


@row
class ClaimRow(TypedDict):
    """What a study tests, and what came of it."""

    claim: str
    group: str
    beside: str | None
    """The group it is held against, seed by seed."""
    quantity: str
    unit: Unit
    at_least: Number
    mean: Number | None
    """Of the group, or of its difference from the other."""
    sd: Number | None
    low: NotRequired[Number | None]
    """The lower end of the mean's 95 % interval; of several seeds."""
    high: NotRequired[Number | None]
    seeds: Count
    trials: NotRequired[Count]
    """Of each side, of a claim about those; it has no seeds then."""
    met: bool | None
    """Whether the whole interval is at least the bound, or, of one seed, the number itself; None where that is open."""
    open: str | None
    """Why: the interval holds the bound, or something that the full budget asks for is not there."""
    caveat: Caveat | None


@row
class StudyOutcome(TypedDict):
    """``study.json``."""

    study: str
    title: str
    reference: str
    budget: str
    rows: list[StudyRow]
    claims: list[ClaimRow]


def read_study(directory: str | os.PathLike[str]) -> StudyOutcome | None:
    """What a study found below a folder, None where there was no study.

    Raises:
        UserMistake: the file is damaged, or another version wrote it.
    """
    advice = "run biograd reproduce again, or remove the file"
    return if_there(lambda path: read_row(path, StudyOutcome, advice), Path(directory) / STUDY, None)
