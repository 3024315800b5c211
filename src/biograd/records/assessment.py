"""What an assessment found: ``assessment.json``, a verdict on each rule and rung of the ladder."""

import os
from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict

from biograd.records.file_names import ASSESSMENT
from biograd.records.reading import if_there, read_row
from biograd.records.schema import Count, Json, Number, Share, Time, row


@row
class Interval(TypedDict):
    """A number, and between which it lies at the level of the assessment; see `biograd.statistics.Estimate`."""

    value: Number | None
    low: Number | None
    high: Number | None
    n: Count


@row
class Beside(Interval):
    """A difference from another rule of the rung, seed by seed, as a fraction; see `biograd.statistics.Comparison`."""

    p_value: Share | None


@row
class CheckRow(TypedDict):
    """One of the checks beside accuracy: the worst that was measured, where, and whether that is a warning."""

    check: str
    value: Number
    layer: str
    flagged: bool


@row
class VerdictRow(TypedDict):
    """A rule on a rung."""

    rung: str
    rule: str
    family: NotRequired[str]
    is_baseline: bool
    """Whether it is what the others stand beside."""
    reason: str | None
    """Why it has no numbers: it cannot teach the net, or every trial diverged."""
    settings: Json
    """What the search chose."""
    runs: Count
    diverged: Count
    unfinished: Count
    epochs: Count
    """Of a run."""
    of_epochs: Count
    """Of a run at the full budget."""
    accuracy: Interval
    """On the test set, a fraction."""
    gap: Beside
    """To backpropagation: below 0 the rule is worse."""
    lead: Beside
    """Over frozen hidden matrices."""
    lead_over_shallow: Beside
    improvement: Interval
    """How likely a run of the rule is better than one of backpropagation."""
    improvement_over_frozen: Interval
    seconds: Time | None
    """Of training, mean over seeds."""
    kept_bytes: Number | None
    """That a step keeps while it teaches, the most that was measured."""
    checks: list[CheckRow]
    verdict: str | None
    """In words, None where nothing is judged."""
    open: str | None
    """Why not."""


@row
class AcrossRow(TypedDict):
    """A rule over all rungs on which it has numbers."""

    rule: str
    rungs: Count
    accuracy: Interval
    """Interquartile mean of all its runs."""
    improvement: Interval
    """How likely a run is better than one of backpropagation on the same rung."""
    improvement_over_frozen: Interval


@row
class RungRow(TypedDict):
    """A rung, from the bottom up."""

    rung: str
    title: str
    data: str
    net: str
    trials: Count
    trial_epochs: Count
    seeds: Count
    """Of the rule that has most; those of the budget before any has one."""
    epochs: Count
    left_out: str | None
    """Why it was not climbed."""


@row
class Assessment(TypedDict):
    """``assessment.json``."""

    budget: str
    level: Share
    """Of intervals; those of differences hold for all rules of a rung at once."""
    rungs: list[RungRow]
    verdicts: list[VerdictRow]
    across: list[AcrossRow]


def read_assessment(directory: str | os.PathLike[str]) -> Assessment | None:
    """What an assessment found in a folder, None where there was none.

    Raises:
        UserMistake: the file is damaged, or another version wrote it.
    """
    advice = "remove the file, and biograd assess writes it again"
    return if_there(lambda path: read_row(path, Assessment, advice), Path(directory) / ASSESSMENT, None)
