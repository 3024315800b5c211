"""The table of a report: what there is of each rule, grouped and ordered once, for everything that shows it."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from biograd.handed import label_of
from biograd.records import OWN, Cell, Run, search, summarize
from biograd.report.palette import BACKPROPAGATION, Drawn, Look, looks
from biograd.tasks import KINDS, METRICS, Kind, Metric

Style = dict[str, Any]
"""What matplotlib is told about a line."""

_DASHES = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (9, 2)),
    (0, (4, 1.2, 1, 1.2, 1, 1.2)),
)


@dataclass(frozen=True)
class Task:
    """What may be compared: the cells of one data set, task and net.

    Attributes:
        name: ``data · net``.
        cells: backpropagation first, then by kind of rule.
        styles: how the line of each is drawn. Cells that share a rule or a colour differ in dashes, so that one line
            shows through another that covers it.
        reference: the cell to compare with, the only one of backpropagation; None where there are none or several.
        validated: whether the validation part is shown also where runs have read the test set.
    """

    name: str
    cells: tuple[Cell, ...]
    styles: tuple[Style, ...]
    reference: Cell | None
    validated: bool = False

    @classmethod
    def of(cls, cells: Sequence[Cell], look: Mapping[str, Look], validated: bool = False) -> "Task":
        """A task of its cells, in order."""
        name = f"{label_of(cells[0].data)} · {label_of(cells[0].net)}"
        references = [cell for cell in cells if cell.is_reference]
        reference = references[0] if len(references) == 1 else None
        return cls(name, tuple(cells), _styles(cells, look), reference, validated)

    def drawn(self) -> Iterator[tuple[Cell, Style]]:
        """Each cell, and how its line is drawn."""
        return zip(self.cells, self.styles, strict=True)

    @property
    def metric(self) -> Metric:
        """What rules are compared by."""
        return METRICS[self.cells[0].kind][0]

    @property
    def part_shown(self) -> str:
        """The test part, or the validation part where no run has read the test set, or that is asked for."""
        return self._part_shown(self.cells)

    @property
    def entry_shown(self) -> str:
        """The entry of the metric of that part: ``test_accuracy``."""
        return f"{self.part_shown}_{self.metric.name}"

    def difference(self, cell: Cell) -> float | None:
        """The mean metric above the reference's; None for the reference itself, or without the numbers.

        Of the part that is shown, or of validation data where neither has read the test set.
        """
        if self.reference is None:
            return None
        part = self._part_shown([cell, self.reference])
        ours, theirs = self._beside(cell, f"{part}_{self.metric.name}")
        return None if ours is None or theirs is None else ours - theirs

    def times_reference(self, cell: Cell) -> float | None:
        """Mean seconds as a multiple of the reference's; None for the reference itself, or without the numbers."""
        ours, theirs = self._beside(cell, "seconds")
        return ours / theirs if ours is not None and theirs else None

    def _part_shown(self, cells: Iterable[Cell]) -> str:
        is_tested = any(cell.spread(f"test_{self.metric.name}").n for cell in cells)
        return "test" if is_tested and not self.validated else "validation"

    def _beside(self, cell: Cell, quantity: str) -> tuple[float | None, float | None]:
        if self.reference is None or self.reference is cell:
            return None, None
        return cell.spread(quantity).mean, self.reference.spread(quantity).mean


@dataclass(frozen=True)
class Table:
    """All that a report shows of runs.

    Attributes:
        tasks: by data set, net and kind of task.
        look: of each rule, or of each label that runs were given, in the order of reports; the same in all figures.
        left_out: a line for each record that could not be read.
        validated: whether figures, differences and leads are of the validation part also where runs have read the test
            set.
    """

    tasks: tuple[Task, ...]
    look: Mapping[str, Look]
    left_out: tuple[str, ...] = ()
    validated: bool = False

    @classmethod
    def of(cls, runs: Iterable[Run], left_out: Iterable[str] = (), *, validated: bool = False) -> "Table":
        """The table of runs."""
        cells = summarize(runs)
        look = looks(_drawn(cells))
        return cls(_tasks(cells, look, validated), look, tuple(left_out), validated)

    @classmethod
    def below(cls, directory: str | os.PathLike[str]) -> "Table":
        """The table of the runs at or below a folder; a damaged one is left out with a warning.

        Raises:
            UserMistake: there is no such folder, or it holds runs of which none can be read.
        """
        return cls.of(*search(directory))

    def regrouped(self, cells: Iterable[Cell]) -> "Table":
        """Cells that were made of this table's, in the looks that their rules have in it."""
        return Table(_tasks(cells, self.look, self.validated), self.look, self.left_out, self.validated)

    @property
    def kinds(self) -> list[Kind]:
        """What is answered in any of the tasks, in one order."""
        found = {cell.kind for cell in self.cells}
        return [kind for kind in KINDS if kind in found]

    @property
    def cells(self) -> list[Cell]:
        """Those of all tasks, in order."""
        return [cell for task in self.tasks for cell in task.cells]

    @property
    def runs(self) -> list[Run]:
        """Those of all cells, in order."""
        return [run for cell in self.cells for run in cell.runs]


def _drawn(cells: Iterable[Cell]) -> Iterator[Drawn]:
    """Each rule or label once, with its kind: one of its cells may know it where another has not ended yet."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.rule].append(cell)
    for name, of_name in groups.items():
        families = [BACKPROPAGATION if cell.is_reference else cell.family for cell in of_name]
        yield Drawn(name, of_name[0].runs[0].rule, next((one for one in families if one != OWN), OWN))


def _tasks(cells: Iterable[Cell], look: Mapping[str, Look], validated: bool) -> tuple[Task, ...]:
    order = {name: place for place, name in enumerate(look)}
    groups: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in sorted(cells, key=lambda cell: order[cell.rule]):
        groups[cell.data, cell.net, cell.kind].append(cell)
    return tuple(Task.of(groups[key], look, validated) for key in sorted(groups))


def _styles(cells: Iterable[Cell], look: Mapping[str, Look]) -> tuple[Style, ...]:
    taken: dict[str, set[int]] = defaultdict(set)
    lines = []
    for cell in cells:
        color, marker, rule = look[cell.rule].color, look[cell.rule].marker, cell.runs[0].rule
        place = next(number for number in count() if number not in taken[color] | taken[rule])
        taken[color].add(place)
        taken[rule].add(place)
        lines.append({"color": color, "marker": marker, "linestyle": _DASHES[place % len(_DASHES)]})
    return tuple(lines)
