"""Where the runs of a report differ in configuration, environment and warnings, and where they agree."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from biograd.handed import label_of
from biograd.records import Cell, Run, flatten
from biograd.report.cells import name_of
from biograd.report.table import Table

# The table names these for every run, or they say nothing about what was computed.
_SHOWN_ELSEWHERE = ("label", "data", "net", "seed", "data_dir")


@dataclass(frozen=True)
class Value:
    """One value of a property, and who has it; nobody is named where all runs agree."""

    text: str
    holders: str


@dataclass(frozen=True)
class Property:
    """A configuration key, or a fact about where the runs were made."""

    name: str
    values: tuple[Value, ...]

    @property
    def differs(self) -> bool:
        """Whether it is not the same for all runs."""
        return len(self.values) > 1


def configuration(table: Table) -> list[Property]:
    """Every configuration key that the summary does not show, those that differ first."""
    unlabelled = all(run.rule == run.label for run in table.runs)
    hidden = (*_SHOWN_ELSEWHERE, "rule") if unlabelled else _SHOWN_ELSEWHERE
    return _properties(table, lambda run: flatten(run.config), hidden)


def environments(table: Table) -> list[Property]:
    """Code, versions, hardware and switches, those that differ first; where a run went on, if elsewhere."""
    contents = {item for run in table.runs for item in run.environment.get("files", {}).items()}
    several = len(contents) > len({file for file, _ in contents})
    hidden = ("examples_of_seed", "task") + (
        () if several else ("files",)
    )  # a file of some runs is no difference
    return _properties(table, _environment, hidden)


def warnings(table: Table) -> list[Value]:
    """Every warning that a run was given when it began, and who was."""
    cells = table.cells
    holders: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        for text in dict.fromkeys(text for run in cell.runs for text in _warnings(run)):
            holders[text].append(_holder(cells, cell, [run for run in cell.runs if text in _warnings(run)]))
    return [Value(text, ", ".join(names)) for text, names in holders.items()]


def _warnings(run: Run) -> list[str]:
    return [] if run.result is None else run.result["warnings"]


def _environment(run: Run) -> Mapping[str, Any]:
    """The run's environment, in which ``resumed`` says only what was different when it went on."""
    places = run.environment.get("resumed")
    if places is None:
        return run.environment
    changes = [
        f"{name} {json.dumps(value)}"
        for place in places
        for name, value in place.items()
        if value != run.environment.get(name)
    ]
    return {**run.environment, "resumed": ", ".join(dict.fromkeys(changes)) or "under the same conditions"}


def _properties(
    table: Table, facts_of: Callable[[Run], Mapping[str, Any]], hidden: tuple[str, ...]
) -> list[Property]:
    facts = {id(run): facts_of(run) for run in table.runs}
    names = list(dict.fromkeys(name for given in facts.values() for name in given))
    found = [
        Property(name, _values(table.cells, {key: _spell(given, name) for key, given in facts.items()}))
        for name in names
        if name not in hidden
    ]
    return sorted(found, key=lambda one: not one.differs)


def _values(cells: list[Cell], text_of: Mapping[int, str]) -> tuple[Value, ...]:
    texts = list(dict.fromkeys(text_of.values()))
    if len(texts) == 1:
        return (Value(texts[0], ""),)
    holders: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        for text in dict.fromkeys(text_of[id(run)] for run in cell.runs):
            holders[text].append(_holder(cells, cell, [run for run in cell.runs if text_of[id(run)] == text]))
    named = {text: ", ".join(holders[text]) for text in texts}
    most = max(texts, key=lambda text: len(holders[text]))
    if len(holders[most]) > 3:
        named[most] = "all others"
    return tuple(Value(text, named[text]) for text in texts)


def _holder(cells: list[Cell], cell: Cell, runs: list[Run]) -> str:
    """The cell's name, with the task if there are several, and the seeds unless all of its runs are meant."""
    several = len({(one.data, one.net) for one in cells}) > 1
    name = f"{name_of(cell)} on {label_of(cell.data)} · {label_of(cell.net)}" if several else name_of(cell)
    if len(runs) == len(cell.runs):
        return name
    return f"{name} seed {'+'.join(str(run.seed) for run in runs)}"


def _spell(given: Mapping[str, Any], name: str) -> str:
    if name not in given:
        return "not given"
    value = given[name]
    return value if isinstance(value, str) else json.dumps(value)
