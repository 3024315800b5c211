"""A table of one's own: examples are the rows of a CSV file."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from annotated_types import MinLen

from biograd.data.dataset import DataSet
from biograd.data.own import TestFraction, made, refuse_likely_numbers
from biograd.errors import UserMistake, brief, listed, unreadable

if TYPE_CHECKING:
    from numpy import ndarray

MOST_TEXTS = 100
"""Different texts in a column of inputs; where there are more they are names rather than kinds."""


class Cell(NamedTuple):
    """What stands in a column, and in which line of the file."""

    text: str
    line: int


Columns = Mapping[str, Sequence[Cell]]


def table(
    path: str,
    directory: str | Path | None,
    download: bool,
    seed: int,
    *,
    target: Annotated[tuple[str, ...], MinLen(1)],
    task: Literal["classes", "regression", "labels"] | None = None,
    inputs: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    texts: tuple[str, ...] = (),
    part: str | None = None,
    separator: str = ",",
    test_fraction: TestFraction = None,
    normalize: bool = True,
    normalize_targets: bool = True,
) -> DataSet:
    """Your own table: a CSV file whose first line names the columns.

    A column of numbers is an input; a column of texts is as many as different texts occur in it, each 1 where its text
    stands and else 0. An empty cell is refused: fill it, or leave out its row or its column.

    Args:
        path: of the file, in UTF-8.
        directory: not used.
        download: not used.
        seed: draws the test part where no column says which it is.
        target: the column that is to be predicted, or several of numbers.
        task: what stands in it: classes, which are those that occur, numbers (regression), or in each of several
            columns 1 for those that have a label, and else 0; none stands for classes, unless they look like numbers.
        inputs: the columns to predict it from; empty for all others.
        without: columns to leave out.
        texts: columns that are read as texts although numbers stand there; of a class, so that 1.5 is one.
        part: a column that says ``train`` or ``test`` of each row.
        separator: between two cells; ``tab`` for a tabulator.
        test_fraction: of the rows that is the test part, where no column says it; none stands for a fifth.
        normalize: to mean 0 and deviation 1 on the training part, column by column.
        normalize_targets: numbers to predict are learned with mean 0 and deviation 1; false leaves them as they are.
    """
    import numpy as np

    file = Path(path).expanduser()
    columns = _read(file, separator)
    chosen = _chosen(columns, target, inputs, without, part)
    _refuse_unknown(columns, texts, "texts")
    x = np.concatenate([_as_numbers(name, columns[name], name in texts) for name in chosen], axis=1)
    if task is None:
        task = _classes_unless_numbers(_only(target), columns[_only(target)], _only(target) in texts)
    y = (
        _as_labels(_only(target), columns[_only(target)], _only(target) in texts)
        if task == "classes"
        else _as_targets(columns, target)
    )
    rows = [slice(None)] if part is None else _parted(part, columns[part])
    return made(
        file.stem,
        [x[of_part] for of_part in rows],
        [y[of_part] for of_part in rows],
        seed=seed,
        task=task,
        names=None if task == "classes" else target,
        test_fraction=test_fraction,
        normalize=normalize,
        normalize_targets=normalize_targets,
    )


def _read(file: Path, separator: str) -> Columns:
    """The cells of each column."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, delimiter="\t" if separator == "tab" else separator, strict=True)
            rows = [(row, reader.line_num) for row in reader if row]
    except OSError as error:
        raise unreadable(file, error, "a CSV file") from error
    except (TypeError, ValueError, csv.Error) as error:
        raise UserMistake(
            f"{file} is no CSV file in UTF-8 with {separator!r} between cells: {error}"
        ) from error
    if len(rows) < 2:
        raise UserMistake(
            f"{file} has {len(rows)} lines, expected one that names the columns and one for each example"
        )
    (names, _), *lines = rows
    names = [name.strip() for name in names]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserMistake(
            f"{file} has two columns {twice[0]!r}: give each a name of its own in the first line"
        )
    for row, line in lines:
        if len(row) != len(names):
            raise UserMistake(
                f"{file}, line {line}: it has {len(row)} cells where the first line names {len(names)} columns; "
                "--data.separator says what stands between them"
            )
    return {name: [Cell(row[place].strip(), line) for row, line in lines] for place, name in enumerate(names)}


def _chosen(
    columns: Columns, target: tuple[str, ...], inputs: Sequence[str], without: Sequence[str], part: str | None
) -> list[str]:
    """The columns of inputs."""
    named = {
        "target": target,
        "inputs": inputs,
        "without": without,
        "part": () if part is None else (part,),
    }
    for setting, names in named.items():
        _refuse_unknown(columns, names, setting)
    left = [name for name in inputs or columns if name not in (*target, part, *without)]
    if not left:
        raise UserMistake(
            f"no column is left to predict {', '.join(target)} from: its columns are {listed(list(columns))}"
        )
    for name in target:
        if name in inputs or target.count(name) > 1:
            raise UserMistake(
                f"column {name!r} is to be predicted: name it once, as target, and not among the inputs"
            )
    return left


def _refuse_unknown(columns: Columns, names: Sequence[str], setting: str) -> None:
    for name in names:
        if name not in columns:
            raise UserMistake(
                f"{setting}: it has no column {brief(name)}; its columns: {listed(list(columns), 20)}"
            )


def _as_numbers(name: str, cells: Sequence[Cell], are_texts: bool) -> "ndarray":
    """A column as inputs, (n, 1) or one for each of its texts."""
    import numpy as np

    _refuse_empty(name, cells)
    found = [None if are_texts else _number(cell.text) for cell in cells]
    odd = [cell for cell, number in zip(cells, found, strict=True) if number is None]
    if not odd:
        return np.array(found, np.float32).reshape(-1, 1)
    if len(odd) < len(cells):
        raise UserMistake(
            f"column {name!r} holds numbers and, in line {odd[0].line}, {brief(odd[0].text)}: mend it, leave the "
            f"column out (--data.without {name}), or read all of it as texts (--data.texts {name})"
        )
    kinds, places = np.unique([cell.text for cell in cells], return_inverse=True)
    if len(kinds) > MOST_TEXTS:
        raise UserMistake(
            f"column {name!r} holds {len(kinds)} different texts, more than the {MOST_TEXTS} that are taken as kinds: "
            f"leave it out (--data.without {name})"
        )
    return np.eye(len(kinds), dtype=np.float32)[places]


def _number(text: str) -> float | None:
    """What a cell says, None where that is no finite number."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) and "_" not in text else None


def _as_labels(name: str, cells: Sequence[Cell], are_texts: bool) -> "ndarray":
    """Whole numbers where all are, so that 10 comes after 9; else texts."""
    import numpy as np

    _refuse_empty(name, cells)
    texts = [cell.text for cell in cells]
    are_whole = not are_texts and all(text.removeprefix("-").isdecimal() and len(text) < 19 for text in texts)
    return np.array([int(text) for text in texts] if are_whole else texts)


def _classes_unless_numbers(name: str, cells: Sequence[Cell], are_texts: bool) -> Literal["classes"]:
    """The task where none is said; numbers of which one is not whole are hardly classes, nor are very many."""
    import numpy as np

    found = [number for cell in cells if (number := _number(cell.text)) is not None]
    if are_texts or len(found) < len(cells):
        return "classes"
    fractions = [cell for cell, number in zip(cells, found, strict=True) if number % 1]
    if fractions:
        raise UserMistake(
            f"column {name!r} holds numbers, such as {brief(fractions[0].text)} in line {fractions[0].line}: to "
            "predict them give --data.task regression; if each is a class of its own, --data.task classes"
        )
    refuse_likely_numbers([np.unique(found, return_inverse=True)[1]], f"column {name!r}")
    return "classes"


def _as_targets(columns: Columns, names: Sequence[str]) -> "ndarray":
    """Columns of numbers, (n, targets)."""
    import numpy as np

    for name in names:
        _refuse_empty(name, columns[name])
        if odd := [cell for cell in columns[name] if _number(cell.text) is None]:
            raise UserMistake(
                f"column {name!r} holds {brief(odd[0].text)} in line {odd[0].line}, expected numbers to predict; "
                "classes are --data.task classes"
            )
    return np.array([[_number(cell.text) for cell in columns[name]] for name in names], np.float32).T


def _only(target: Sequence[str]) -> str:
    if len(target) != 1:
        raise UserMistake(
            f"the class is in one column, and target names {len(target)}: numbers are --data.task regression, and "
            "columns of 0 or 1 --data.task labels"
        )
    return target[0]


def _parted(name: str, cells: Sequence[Cell]) -> "list[ndarray]":
    """Which rows are of the training and which of the test part."""
    import numpy as np

    for cell in cells:
        if cell.text not in ("train", "test"):
            raise UserMistake(
                f"column {name!r} holds {brief(cell.text)} in line {cell.line}, expected train or test of each row"
            )
    is_test = np.array([cell.text == "test" for cell in cells])
    return [~is_test, is_test]


def _refuse_empty(name: str, cells: Sequence[Cell]) -> None:
    for cell in cells:
        if not cell.text:
            raise UserMistake(
                f"column {name!r} has an empty cell in line {cell.line}: fill it, or leave out the row or the column "
                f"(--data.without {name})"
            )
