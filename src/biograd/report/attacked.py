"""What was measured under attack, over seeds and over the classes that are told from the rest one by one."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from biograd.records import Cell, Measurement, Run, number
from biograd.records.robustness import AttackRow, AttackSettingsRow
from biograd.report.curves import Band
from biograd.report.table import Style, Table
from biograd.statistics import Spread, spread

QUANTITIES = ("accuracy", "balanced_accuracy")

PANELS = {
    ("fgsm", "true"): "FGSM, true gradient",
    ("pgd", "true"): "PGD, true gradient",
    ("square", "none"): "square, no gradient",
    ("fgsm", "rule"): "FGSM, the rule's feedback",
    ("pgd", "rule"): "PGD, the rule's feedback",
    ("transfer", "transfer"): "PGD on another run",
}
"""Attack and kind of gradient to what they are called, in the order of reports."""


@dataclass(frozen=True)
class Attacked:
    """The runs of a cell under attack, all by the same settings.

    Where each class is told from the rest by a run of its own, the cell holds the runs of all classes. A seed's
    value is then the mean over the classes that every seed has, and the spread is that of these means over seeds.

    Attributes:
        cell: its runs are those that were measured.
        style: how its lines are drawn.
        measurements: of each of these runs, in their order.
    """

    cell: Cell
    style: Style
    measurements: tuple[Measurement, ...]

    @property
    def classes(self) -> list[str | None]:
        """The classes told from the rest that every seed has; ``[None]`` where all classes are told apart."""
        return sorted(set.intersection(*(set(classes) for classes in self._by_seed().values())), key=str)

    @property
    def left_out(self) -> int:
        """How many runs have no part in the means: other seeds lack their class."""
        shared = self.classes
        return sum(run.one_vs_rest not in shared for run in self.cell.runs)

    def spread(self, value: Callable[[Measurement], float | None]) -> Spread:
        """Mean and spread over seeds of a number of each measurement."""
        shared, means = self.classes, []
        for classes in self._by_seed().values():
            found = [[value(one) for one in classes[name]] for name in shared]
            known = [[number for number in of_class if number is not None] for of_class in found]
            if known and all(known):
                means.append(statistics.fmean(statistics.fmean(of_class) for of_class in known))
        return spread(means)

    def band(self, attack: str, gradient: str, quantity: str) -> Band | None:
        """A curve over ε, in percent; None where that attack was not made on every seed and class."""
        sizes = self.measurements[0]["settings"]["epsilons"]
        spreads = [
            self.spread(lambda one, size=size: _point(one, attack, gradient, size, quantity))
            for size in sizes
        ]
        if not all(one.n == len(self._by_seed()) for one in spreads) or not spreads:
            return None
        means, sds = ([100 * (value or 0.0) for value in values] for values in _columns(spreads))
        return Band(list(sizes), means, sds if spreads[0].n > 1 else None)

    def verdicts(self) -> Counter[str]:
        """How often masking was suspected, not decided, not seen."""
        return Counter(one["verdict"]["masking"] for one in self.measurements)

    def _by_seed(self) -> dict[int, dict[str | None, list[Measurement]]]:
        found: dict[int, dict[str | None, list[Measurement]]] = defaultdict(lambda: defaultdict(list))
        for run, measurement in zip(self.cell.runs, self.measurements, strict=True):
            found[run.seed][run.one_vs_rest].append(measurement)
        return found


@dataclass(frozen=True)
class Comparison:
    """Cells of one task that were attacked by the same settings, and so may be compared.

    Attributes:
        task: ``data · net``.
        key: fingerprint of the settings.
        settings: of the attacks.
        unit: what ε is counted in.
        examples: test examples of each run.
        members: the cells, in the order of reports.
    """

    task: str
    key: str
    settings: AttackSettingsRow
    unit: str
    examples: int
    members: tuple[Attacked, ...]

    def panels(self) -> list[tuple[str, str]]:
        """Attack and kind of gradient of every curve, of `PANELS`."""
        rows = [row for one in self.members for found in one.measurements for row in found["rows"]]
        made = {(row["attack"], _kind(row)) for row in rows if row["reason"] is None}
        return [panel for panel in PANELS if panel in made]

    def not_made(self) -> list[tuple[Cell, str, str]]:
        """Cell, attack and reason, each once, of what was not made."""
        rows = [
            (one.cell, row) for one in self.members for found in one.measurements for row in found["rows"]
        ]
        missing = [(cell, _name(row), row["reason"]) for cell, row in rows if row["reason"] is not None]
        return list(
            {(id(cell), name, reason): (cell, name, reason) for cell, name, reason in missing}.values()
        )


def comparisons(table: Table) -> list[Comparison]:
    """What was measured of each task, by settings; of each run the newest by each."""
    found = []
    for task in table.regrouped(pooled(table.cells)).tasks:
        of_key: dict[str, list[Attacked]] = defaultdict(list)
        for cell, style in task.drawn():
            for key, measured in _by_key(cell).items():
                runs, measurements = zip(*measured, strict=True)
                of_key[key].append(Attacked(replace(cell, runs=runs), style, measurements))
        found += [_comparison(task.name, attacked) for attacked in of_key.values()]
    return found


def pooled(cells: Iterable[Cell]) -> list[Cell]:
    """The cells; those that tell one class each from the rest as one, where there are several of a data set."""
    cells = list(cells)
    classes: dict[str, set[str]] = defaultdict(set)
    groups: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        data, single = cell.runs[0].data, cell.one_vs_rest
        classes[data].update([] if single is None else [single])
        groups[data, cell.data if single is None else "", cell.net, cell.rule, cell.label].append(cell)
    return [
        replace(
            members[0],
            data=_pooled_name(members[0], len(classes[key[0]])),
            runs=tuple(run for cell in members for run in cell.runs),
        )
        for key, members in groups.items()
    ]


def _pooled_name(cell: Cell, classes: int) -> str:
    if classes < 2 or cell.one_vs_rest is None:
        return cell.data
    return f"{cell.runs[0].data}, {classes} classes one by one"


def _by_key(cell: Cell) -> dict[str, list[tuple[Run, Measurement]]]:
    found: dict[str, list[tuple[Run, Measurement]]] = defaultdict(list)
    for run in cell.runs:
        newest = {one["key"]: one for one in run.measurements}
        for key, measurement in newest.items():
            found[key].append((run, measurement))
    return found


def _comparison(task: str, members: list[Attacked]) -> Comparison:
    first = members[0].measurements[0]
    return Comparison(task, first["key"], first["settings"], first["unit"], first["examples"], tuple(members))


def _point(
    measurement: Measurement, attack: str, gradient: str, epsilon: float, quantity: str
) -> float | None:
    for row in measurement["rows"]:
        if (row["attack"], _kind(row), row["epsilon"]) == (attack, gradient, epsilon):
            return number(row, quantity)
    return None


def _columns(spreads: Iterable[Spread]) -> tuple[list[float | None], list[float | None]]:
    spreads = list(spreads)
    return [one.mean for one in spreads], [one.sd for one in spreads]


def _kind(row: AttackRow) -> str:
    """``true``, ``rule``, ``none`` or ``transfer``, whichever run it is from."""
    return row["gradient"].partition(":")[0]


def _name(row: AttackRow) -> str:
    return f"{row['attack']} by the rule's feedback" if row["gradient"] == "rule" else row["attack"]
