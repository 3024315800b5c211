"""What a study found, as tables: measured beside published, and its claims with a verdict each."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from biograd.handed import label_of
from biograd.records import Cell, ClaimRow, StudyOutcome, StudyRow
from biograd.records.study import Caveat, Unit
from biograd.report.columns import MISSING, Column, Entry, text_entry, with_content

CAPTION = "of each seed the mean over the group's cells; then mean ± sample standard deviation over seeds"

SCALES = {"fraction": (100, 2, "%"), "degrees": (1, 1, "°"), "seconds": (1, 1, "s"), "number": (1, 4, "")}
"""Unit to factor, decimals and sign."""


def compared(cells: Iterable[Cell]) -> list[Cell]:
    """The cells as figures of a study compare them: what lies in one folder is one task, whatever the nets.

    Rules that need a net of their own form stand so beside the others; the net is then all of their names.
    """
    cells = list(cells)
    nets: dict[Path, dict[str, None]] = defaultdict(dict)
    for cell in cells:
        nets[_task_folder(cell)][label_of(cell.net)] = None
    names = {
        folder: ", ".join(sorted(found, key=lambda net: (len(net), net))) for folder, found in nets.items()
    }
    return [replace(cell, net=names[_task_folder(cell)]) for cell in cells]


def one_by_one(cells: Iterable[Cell]) -> list[Cell]:
    """Those of the cells that tell one class from the rest, where several classes of a data set are told so."""
    cells = list(cells)
    classes: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        classes[cell.runs[0].data].update([] if cell.one_vs_rest is None else [cell.one_vs_rest])
    return [cell for cell in cells if cell.one_vs_rest is not None and len(classes[cell.runs[0].data]) > 1]


def _task_folder(cell: Cell) -> Path:
    return cell.runs[0].folder.parent


def heading(study: StudyOutcome) -> str:
    """Title and budget."""
    return f"{study['title']}, {study['budget']} budget"


def measured_columns(rows: Sequence[StudyRow]) -> list[Column]:
    """Measured beside published, a row a quantity of a group; columns in which no row has anything are left out."""
    shares = all(row["unit"] == "fraction" for row in rows)
    return with_content(
        [
            Column("group", False, tuple(text_entry(row["group"]) for row in rows)),
            Column("quantity", False, tuple(text_entry(_named(row)) for row in rows)),
            Column(
                "measured", True, tuple(_spread(row["unit"], row["mean"], row["sd"]) for row in rows), shares
            ),
            Column("trained", False, tuple(text_entry(trained(row)) for row in rows)),
            Column("published", True, tuple(_published(row) for row in rows), shares),
            Column(
                "difference",
                True,
                tuple(_spread(row["unit"], row["difference"], None, "+") for row in rows),
                shares,
            ),
            Column("seeds", True, tuple(Entry(str(row["seeds"]), row["seeds"]) for row in rows)),
            Column("not in the mean", False, tuple(text_entry(_missing(row)) for row in rows)),
            Column("source", False, tuple(text_entry(row["source"] or "") for row in rows)),
        ]
    )


def claim_columns(claims: Sequence[ClaimRow]) -> list[Column]:
    """Each claim with what was measured, the bound and the verdict; columns without content are left out."""
    columns = [
        Column("claim", False, tuple(text_entry(claim["claim"]) for claim in claims)),
        Column("quantity", False, tuple(text_entry(_named(claim)) for claim in claims)),
        Column("measured", True, tuple(_claimed(claim) for claim in claims)),
        Column("95 % interval", True, tuple(_interval(claim) for claim in claims)),
        Column("at least", True, tuple(_bound(claim) for claim in claims)),
        Column("seeds", True, tuple(_count(claim) for claim in claims)),
        Column("verdict", False, tuple(text_entry(verdict(claim)) for claim in claims)),
    ]
    return with_content(columns)


def verdict(claim: ClaimRow) -> str:
    """Confirmed or refuted by an interval, or why it is open; what speaks against the measurement is said as well.

    Of one seed, which has no interval, the bound is met or not.

    Example:
        >>> verdict({"met": None, "open": "1 of 3 seeds", "caveat": None})
        'open: 1 of 3 seeds'
        >>> suspected = {"quantity": "masking suspected", "unit": "fraction", "mean": 0.5}
        >>> verdict({"met": True, "low": 0.02, "high": 0.04, "caveat": suspected})
        'confirmed; but masking suspected: 50.00 %'
    """
    judged = _judged(claim)
    against = claim["caveat"]
    return f"{judged}; but {against['quantity']}: {_with_unit(against)}" if against else judged


def _judged(claim: ClaimRow) -> str:
    met = claim["met"]
    if met is None:
        return f"open: {claim['open'] or 'nothing was measured'}"
    if claim.get("low") is None:
        return "met" if met else "not met"
    return "confirmed" if met else "refuted"


def _count(claim: ClaimRow) -> Entry:
    """Of seeds; or of trials, where the claim is about those."""
    trials = claim.get("trials")
    return Entry(str(claim["seeds"]), claim["seeds"]) if trials is None else Entry(f"{trials} trials", trials)


def _with_unit(row: Caveat) -> str:
    return f"{_spell(row['unit'], row['mean'])} {SCALES[row['unit']][2]}".rstrip()


def _named(row: StudyRow | ClaimRow) -> str:
    """The quantity with its unit: ``test accuracy %``."""
    return f"{row['quantity']} {SCALES[row['unit']][2]}".rstrip()


def _spell(unit: Unit, value: float, sign: str = "") -> str:
    factor, decimals, _ = SCALES[unit]
    return f"{factor * value:{sign}.{decimals}f}".replace("-", "−")


def _spread(unit: Unit, mean: float | None, sd: float | None, sign: Literal["", "+"] = "") -> Entry:
    if mean is None:
        return Entry(MISSING, None)
    spread = "" if sd is None else f" ± {_spell(unit, sd)}"
    return Entry(f"{_spell(unit, mean, sign)}{spread}", mean)


def _published(row: StudyRow) -> Entry:
    return _spread(row["unit"], row["published"], row["published_sd"])


def trained(row: StudyRow) -> str:
    """What stands beside a number that fewer epochs gave than the full budget has, or than were published.

    Example:
        >>> trained({"epochs": 3, "of_epochs": 31})
        '3 of 31 epochs'
    """
    return f"{row['epochs']} of {row['of_epochs']} epochs" if "epochs" in row and "of_epochs" in row else ""


def _claimed(claim: ClaimRow) -> Entry:
    """The mean, with its sign where it is a difference."""
    return _spread(claim["unit"], claim["mean"], claim["sd"], "+" if claim["beside"] else "")


def _interval(claim: ClaimRow) -> Entry:
    """Of the mean over seeds; of one seed there is none."""
    low, high = claim.get("low"), claim.get("high")
    if low is None or high is None:
        return Entry(MISSING, None)
    sign = "+" if claim["beside"] else ""
    return Entry(f"{_spell(claim['unit'], low, sign)} to {_spell(claim['unit'], high, sign)}", low)


def _bound(claim: ClaimRow) -> Entry:
    return _spread(claim["unit"], claim["at_least"], None, "+" if claim["beside"] else "")


def _missing(row: StudyRow) -> str:
    """What the mean of a group leaves out.

    Example:
        >>> _missing({"cells": 2, "of_cells": 10, "runs": 6, "diverged": 1, "unfinished": 0})
        '8 of 10 cells, 1 of 6 runs diverged'
    """
    cells, of, runs = row["of_cells"] - row["cells"], row["of_cells"], row["runs"]
    notes = [
        (cells, f"{cells} of {of} cells"),
        (row["diverged"], f"{row['diverged']} of {runs} runs diverged"),
        (row["unfinished"], f"{row['unfinished']} of {runs} runs unfinished"),
    ]
    return ", ".join(note for count, note in notes if count)
