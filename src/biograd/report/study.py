"""What a study found, as tables: measured beside published, and its claims with a verdict each."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from biograd.errors import UserMistake
from biograd.records import Cell, exists, read_json
from biograd.report.cells import short
from biograd.report.tables import MISSING, Column, Entry

FILE = "study.json"
"""Where ``biograd reproduce`` leaves what it found, beside the runs."""

CAPTION = "of each seed the mean over the group's cells; then mean ± sample standard deviation over seeds"

_SCALES = {"fraction": (100, 2, "%"), "degrees": (1, 1, "°"), "seconds": (1, 1, "s"), "number": (1, 4, "")}
"""Unit to factor, decimals and sign."""

Row = Mapping[str, Any]


def load(directory: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What a study found below a folder, None where there was no study.

    Raises:
        UserMistake: the file is corrupted, or another version wrote it.
    """
    path = Path(directory) / FILE
    if not exists(path):
        return None
    found = read_json(path)
    try:
        heading(found)
        measured_columns(found["rows"])
        claim_columns(found["claims"])
    except (KeyError, TypeError, ValueError):
        raise UserMistake(
            f"{path} is not what this version of biograd reproduce writes: run that again, or remove the file"
        ) from None
    return found


def compared(cells: Iterable[Cell]) -> list[Cell]:
    """The cells as figures of a study compare them: what lies in one folder is one task, whatever the nets.

    Rules that need a net of their own form stand so beside the others; the net is then all of their names.
    """
    cells = list(cells)
    nets: dict[Path, dict[str, None]] = defaultdict(dict)
    for cell in cells:
        nets[_task_folder(cell)][short(cell.net)] = None
    names = {
        folder: ", ".join(sorted(found, key=lambda net: (len(net), net))) for folder, found in nets.items()
    }
    return [replace(cell, net=names[_task_folder(cell)]) for cell in cells]


def one_by_one(cells: Iterable[Cell]) -> list[Cell]:
    """Those of the cells that tell one class from the rest, where several classes of a data set are told so."""
    cells = list(cells)
    classes = {(cell.runs[0].data, cell.data) for cell in cells if cell.data != cell.runs[0].data}
    several = {data for data, _ in classes if len([pair for pair in classes if pair[0] == data]) > 1}
    return [cell for cell in cells if cell.data != cell.runs[0].data and cell.runs[0].data in several]


def _task_folder(cell: Cell) -> Path:
    return cell.runs[0].folder.parent


def heading(study: Row) -> str:
    """Title and budget."""
    return f"{study['title']}, {study['budget']} budget"


def measured_columns(rows: Sequence[Row]) -> list[Column]:
    """Measured beside published, a row a quantity of a group; columns in which no row has anything are left out."""
    return _with_content(
        [
            Column("group", False, tuple(_text(row["group"]) for row in rows)),
            Column("quantity", False, tuple(_text(_named(row)) for row in rows)),
            Column("measured", True, tuple(_spread(row, "mean", "sd") for row in rows)),
            Column("published", True, tuple(_spread(row, "published", "published_sd") for row in rows)),
            Column("difference", True, tuple(_signed(row, row["difference"]) for row in rows)),
            Column("seeds", True, tuple(Entry(str(row["seeds"]), row["seeds"]) for row in rows)),
            Column("not in the mean", False, tuple(_text(_missing(row)) for row in rows)),
            Column("source", False, tuple(_text(row["source"] or "") for row in rows)),
        ]
    )


def claim_columns(claims: Sequence[Row]) -> list[Column]:
    """Each claim with what was measured, the bound and the verdict."""
    return [
        Column("claim", False, tuple(_text(claim["claim"]) for claim in claims)),
        Column("quantity", False, tuple(_text(_named(claim)) for claim in claims)),
        Column("measured", True, tuple(_claimed(claim) for claim in claims)),
        Column("at least", True, tuple(_bound(claim) for claim in claims)),
        Column("seeds", True, tuple(Entry(str(claim["seeds"]), claim["seeds"]) for claim in claims)),
        Column("verdict", False, tuple(_text(verdict(claim)) for claim in claims)),
    ]


def verdict(claim: Row) -> str:
    """``met``, ``not met``, or why it is open; and what speaks against the measurement.

    Example:
        >>> verdict({"met": None, "open": "1 of 3 seeds", "caveat": None})
        'open: 1 of 3 seeds'
        >>> verdict({"met": True, "caveat": {"quantity": "masking suspected", "unit": "fraction", "mean": 0.5}})
        'met; but masking suspected: 50.00 %'
    """
    if claim["met"] is None:
        judged = f"open: {claim['open'] or 'nothing was measured'}"
    else:
        judged = "met" if claim["met"] else "not met"
    against = claim["caveat"]
    return f"{judged}; but {against['quantity']}: {_with_unit(against)}" if against else judged


def _with_unit(row: Row) -> str:
    return f"{_spell(row, row['mean'])} {_SCALES[row['unit']][2]}".rstrip()


def _with_content(columns: list[Column]) -> list[Column]:
    return [column for column in columns if any(entry.value is not None for entry in column.entries)]


def _text(text: str) -> Entry:
    return Entry(text, text or None)


def _named(row: Row) -> str:
    """The quantity with its unit: ``test accuracy %``."""
    return f"{row['quantity']} {_SCALES[row['unit']][2]}".rstrip()


def _spell(row: Row, value: float, sign: str = "") -> str:
    factor, decimals, _ = _SCALES[row["unit"]]
    return f"{factor * value:{sign}.{decimals}f}".replace("-", "−")


def _spread(row: Row, mean: str, sd: str) -> Entry:
    if row[mean] is None:
        return Entry(MISSING, None)
    spread = "" if row[sd] is None else f" ± {_spell(row, row[sd])}"
    return Entry(f"{_spell(row, row[mean])}{spread}", row[mean])


def _signed(row: Row, value: float | None) -> Entry:
    return Entry(MISSING, None) if value is None else Entry(_spell(row, value, "+"), value)


def _claimed(claim: Row) -> Entry:
    """The mean, with its sign where it is a difference."""
    if claim["beside"] is None or claim["mean"] is None:
        return _spread(claim, "mean", "sd")
    spread = "" if claim["sd"] is None else f" ± {_spell(claim, claim['sd'])}"
    return Entry(f"{_spell(claim, claim['mean'], '+')}{spread}", claim["mean"])


def _bound(claim: Row) -> Entry:
    return Entry(_spell(claim, claim["at_least"], "+" if claim["beside"] else ""), claim["at_least"])


def _missing(row: Row) -> str:
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
