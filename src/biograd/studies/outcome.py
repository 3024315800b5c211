"""From the runs of a study to its table: what was measured, beside what was published and claimed."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from biograd.records import ClaimRow, Run, StudyRow, Trials
from biograd.records.study import Caveat, Epochs
from biograd.statistics import Estimate, difference_of_middles, differences, mean_interval, spread
from biograd.studies.quantities import Quantity
from biograd.studies.study import (
    BudgetName,
    Claim,
    Group,
    Published,
    SensitivityClaim,
    Shown,
    Study,
    StudyCell,
)

Runs = Mapping[str, Sequence[Run]]
"""The runs that there are, by the name of their cell."""


def rows(study: Study, runs: Runs) -> list[StudyRow]:
    """A row for each quantity of each group of which there are runs, in the study's order."""
    return [
        _row(study, group, shown, runs)
        for group in study.groups
        if _present(study, group, runs)
        for shown in group.shows
    ]


def verdicts(study: Study, runs: Runs, budget: BudgetName) -> list[ClaimRow]:
    """A row for each claim about groups of which there are runs."""
    return [
        _verdict(study, claim, runs, budget)
        for claim in study.claims
        if all(_present(study, group, runs) for group in _compared(study, claim))
    ]


def sensitivities(study: Study, searches: Mapping[str, Trials], budget: BudgetName) -> list[ClaimRow]:
    """A row for each claim about the trials of cells that both have some.

    Args:
        study: which claims it.
        searches: the trials of cells, by their names.
        budget: how much was trained.
    """
    wanted = {
        cell.name: amount.tuning.trials for cell in study.cells if (amount := cell.full) and amount.tuning
    }
    return [
        _sensitivity(claim, searches, wanted, budget)
        for claim in study.sensitivities
        if claim.cell in searches and claim.beside in searches
    ]


def by_seed(cells: Sequence[StudyCell], quantity: Quantity, runs: Runs) -> dict[int, float]:
    """The mean over cells, for every seed for which each cell has the quantity.

    Args:
        cells: one at least.
        quantity: what of each run.
        runs: those of each cell; one that is not done counts as missing.
    """
    values = [
        {run.seed: value for run in runs[cell.name] if (value := _value(run, quantity)) is not None}
        for cell in cells
    ]
    common = set.intersection(*(set(of_cell) for of_cell in values))
    return {seed: statistics.fmean(of_cell[seed] for of_cell in values) for seed in sorted(common)}


def _value(run: Run, quantity: Quantity) -> float | None:
    return quantity.of(run) if run.status == "done" else None


def _present(study: Study, group: Group, runs: Runs) -> list[StudyCell]:
    """The cells of a group that have runs."""
    return [cell for cell in study.cells_of(group) if runs.get(cell.name)]


def _row(study: Study, group: Group, shown: Shown, runs: Runs) -> StudyRow:
    cells, published = _present(study, group, runs), shown.published
    measured = spread(by_seed(cells, shown.quantity, runs).values())
    trained = _epochs(cells, runs)
    statuses = [run.status for cell in cells for run in runs[cell.name]]
    return {
        "group": _named(group, [run for cell in cells for run in runs[cell.name]]),
        "quantity": shown.quantity.title,
        "unit": shown.quantity.unit,
        "mean": measured.mean,
        "sd": measured.sd,
        "seeds": measured.n,
        "cells": len(cells),
        "of_cells": len(study.cells_of(group)),
        "runs": len(statuses),
        "unfinished": statuses.count("unfinished"),
        "diverged": len(statuses) - statuses.count("done") - statuses.count("unfinished"),
        "published": published and published.value,
        "published_sd": published and published.spread,
        "difference": None if trained.are_too_few else _difference(measured.mean, published),
        "source": published and published.source,
        **trained.beside(published),
    }


def _named(group: Group, runs: Sequence[Run]) -> str:
    """A group's name, and whether a run of it was exact inside blocks."""
    inside = next((run.exact_inside for run in runs if run.exact_inside), None)
    return f"{group.name} ({inside})" if inside else group.name


def _difference(measured: float | None, published: Published | None) -> float | None:
    return None if measured is None or published is None else measured - published.value


class _Trained(NamedTuple):
    """Epochs of a run, and those that a result is trained."""

    epochs: int
    wanted: int

    @property
    def are_too_few(self) -> bool:
        """Whether it is less than a result has."""
        return self.epochs < self.wanted

    def beside(self, published: Published | None) -> Epochs:
        """What is said beside a number that was trained less than a result, or than the published one; else nothing."""
        of_epochs = max(self.wanted, (published and published.epochs) or 0)
        return {"epochs": self.epochs, "of_epochs": of_epochs} if self.epochs < of_epochs else {}


def _epochs(cells: Sequence[StudyCell], runs: Runs) -> _Trained:
    """Of the run that had the least of what a result is trained."""
    trained = [
        _Trained(run.config.get("epochs", cell.result_epochs), cell.result_epochs)
        for cell in cells
        for run in runs[cell.name]
    ]
    return min(trained, key=lambda one: one.epochs / one.wanted)


def _verdict(study: Study, claim: Claim, runs: Runs, budget: BudgetName) -> ClaimRow:
    groups = _compared(study, claim)
    ours, *theirs = (by_seed(_present(study, group, runs), claim.quantity, runs) for group in groups)
    beside = theirs[0] if theirs else dict.fromkeys(ours, 0.0)
    pairs = differences(ours, beside).values()
    measured, found = spread(pairs), mean_interval(pairs)
    met, reason = _judged(found, claim.at_least, _open(study, groups, runs, budget, measured.n))
    return {
        "claim": claim.statement,
        "group": claim.group,
        "beside": claim.beside,
        "quantity": claim.quantity.title,
        "unit": claim.quantity.unit,
        "at_least": claim.at_least,
        "mean": measured.mean,
        "sd": measured.sd,
        "low": found.low,
        "high": found.high,
        "seeds": measured.n,
        "met": met,
        "open": reason,
        "caveat": _caveat(_present(study, groups[0], runs), claim.caveat, runs),
    }


def _caveat(cells: Sequence[StudyCell], quantity: Quantity | None, runs: Runs) -> Caveat | None:
    """What speaks against the measurement of a group, with its mean; None where nothing does."""
    mean = spread(by_seed(cells, quantity, runs).values()).mean if quantity else None
    return {"quantity": quantity.title, "unit": quantity.unit, "mean": mean} if quantity and mean else None


def _compared(study: Study, claim: Claim) -> list[Group]:
    return [study.group(name) for name in (claim.group, claim.beside) if name is not None]


def _seeds(cell: StudyCell, budget: BudgetName) -> int:
    """How many a budget asks of a cell."""
    amount = cell.budget(budget)
    return amount.seeds if amount else 0


def _open(study: Study, groups: list[Group], runs: Runs, budget: BudgetName, seeds: int) -> str | None:
    """Why a claim cannot be judged yet, None when it can."""
    if budget == "quick":
        return "judged at the full budget"
    for group in groups:
        there, wanted = len(_present(study, group, runs)), len(study.cells_of(group))
        if there < wanted:
            return f"{there} of {wanted} cells of {group.name!r}"
    wanted = max(_seeds(cell, budget) for group in groups for cell in study.cells_of(group))
    return f"{seeds} of {wanted} seeds" if seeds < wanted else None


def _judged(found: Estimate, at_least: float, lacking: str | None) -> tuple[bool | None, str | None]:
    """Whether a bound is met, and where that is open, why: something is lacking, or the interval holds the bound.

    A number without an interval is its own.
    """
    if lacking or found.value is None:
        return None, lacking
    low, high = (found.value if end is None else end for end in (found.low, found.high))
    if low < at_least <= high:
        mean = "meets" if found.value >= at_least else "misses"
        return None, f"the interval holds the bound, which the mean {mean}"
    return low >= at_least, None


def _sensitivity(
    claim: SensitivityClaim, searches: Mapping[str, Trials], wanted: Mapping[str, int], budget: BudgetName
) -> ClaimRow:
    sides = [searches[claim.cell], searches[claim.beside]]
    found = difference_of_middles(*map(_shortfalls, sides))
    lacking = "judged at the full budget" if budget == "quick" else None
    for name, trials in zip((claim.cell, claim.beside), sides, strict=True):
        if lacking is None and len(trials.done) < wanted[name]:
            lacking = f"{len(trials.done)} of {wanted[name]} trials of {name!r}"
    met, reason = _judged(found, claim.at_least, lacking)
    return {
        "claim": claim.statement,
        "group": claim.cell,
        "beside": claim.beside,
        "quantity": "shortfall of trials",
        "unit": "fraction",
        "at_least": claim.at_least,
        "mean": found.value,
        "sd": None,
        "low": found.low,
        "high": found.high,
        "seeds": 0,
        "trials": found.n,
        "met": met,
        "open": reason,
        "caveat": None,
    }


def _shortfalls(trials: Trials) -> list[float]:
    """How far each trial that has ended is from the best one."""
    best = trials.best["value"] if trials.best else None
    return [] if best is None else [best - (row["value"] or 0.0) for row in trials.done]
