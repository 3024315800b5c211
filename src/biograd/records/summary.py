"""From runs to cells: the same rule, data, net and configuration, over seeds."""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from biograd.records.growth import growth
from biograd.records.run import OWN, REFERENCE, Run
from biograd.records.schema import number
from biograd.statistics import Spread, spread
from biograd.tasks import Kind

NOT_PART_OF_A_CELL = ("seed", "label", "data_dir", "track", "checkpoint_every", "checkpoint_seconds")
"""What may differ between the runs of a cell: the seed, and what cannot change what a run learns. The label is
compared before."""


ALWAYS_SAID = {"rule.inside": None, "rule.blocks": [], "rule.error": "before"}
"""Settings that change what a rule is, each with its usual value: a cell that has another one says so, also where it is
the only one of its rule."""

BEFORE_THEY_WERE_RECORDED = {
    "feedback_optimizer": "shared",
    "penalty": "none",
    "read_test": True,
    "observe": [],
}
"""What settings were in runs older than the setting, so that those share a cell with later ones."""


@dataclass(frozen=True)
class Cell:
    """Runs that differ in nothing but the seed.

    Attributes:
        rule: the rule's name, or the label that its runs were given.
        data: the data set's name; of a binary task, with the class that is told from the rest.
        net: the net's name.
        label: what tells this cell from others of the same rule, data and net (``optimizer.lr=0.1``), and what is
            `ALWAYS_SAID`; empty when there is neither.
        runs: all of its runs, those that diverged and the unfinished ones included.
    """

    rule: str
    data: str
    net: str
    label: str
    runs: tuple[Run, ...]

    def with_status(self, status: str) -> list[Run]:
        """The runs of this cell that are ``done``, ``diverged`` or ``unfinished``."""
        return [run for run in self.runs if run.status == status]

    def spread(self, quantity: str) -> Spread:
        """Mean and sample sd over the finished runs of an entry of ``result.json``.

        A run that diverged or is unfinished has no part in it: `failed` and `unfinished` count those.
        Runs that repeat a seed are averaged first, so that n is the number of seeds.
        """
        return self._spread(lambda run: number(run.result or {}, quantity))

    def best_of_epochs(self, entry: str) -> Spread:
        """The same of the best that any epoch of each run has of a metric; see `Run.best_of_epochs`."""
        return self._spread(lambda run: run.best_of_epochs(entry))

    def by_seed(self, quantity: str) -> dict[int, float]:
        """An entry of ``result.json`` of the finished runs, by seed; runs that repeat one are averaged."""
        return self._by_seed(lambda run: number(run.result or {}, quantity))

    def _spread(self, of: Callable[[Run], float | None]) -> Spread:
        return spread(self._by_seed(of).values())

    def _by_seed(self, of: Callable[[Run], float | None]) -> dict[int, float]:
        values: dict[int, list[float]] = defaultdict(list)
        for run in self.with_status("done"):
            if (value := of(run)) is not None:
                values[run.seed].append(value)
        return {seed: statistics.fmean(of_seed) for seed, of_seed in values.items()}

    @property
    def family(self) -> str:
        """What kind of rule it is."""
        return next((run.family for run in self.runs if run.family != OWN), OWN)

    @property
    def is_reference(self) -> bool:
        """Whether it is of the rule that the others stand beside."""
        return all(run.rule == REFERENCE for run in self.runs)

    @property
    def one_vs_rest(self) -> str | None:
        """The class that is told from the rest, None where all classes are told apart."""
        return self.runs[0].one_vs_rest

    @property
    def test_accuracy(self) -> Spread:
        """Accuracy on the test set, a fraction."""
        return self.spread("test_accuracy")

    @property
    def validation_accuracy(self) -> Spread:
        """Accuracy on the validation part at the end, a fraction."""
        return self.spread("validation_accuracy")

    @property
    def kind(self) -> Kind:
        """What its nets are to answer."""
        return self.runs[0].kind

    @property
    def seconds(self) -> Spread:
        """Seconds of training."""
        return self.spread("seconds")

    @property
    def growth(self) -> dict[str, Spread]:
        """What the activity of each block has grown by, in order; of the runs that are done, or of all when none is."""
        grown = [growth(run.diagnostics) for run in self.with_status("done") or self.runs]
        blocks = dict.fromkeys(block for one in grown for block in one)
        return {block: spread(one[block] for one in grown if block in one) for block in blocks}

    @property
    def seeds(self) -> list[int]:
        """The seeds of all runs, each once, sorted."""
        return sorted({run.seed for run in self.runs})

    @property
    def failed(self) -> int:
        """How many runs ended without being done: they diverged."""
        return len(self.runs) - len(self.with_status("done")) - self.unfinished

    @property
    def unfinished(self) -> int:
        """How many runs have no result yet."""
        return len(self.with_status("unfinished"))

    @property
    def stopped(self) -> int:
        """How many runs an observer has ended before their last epoch; they are done, and have a part in means."""
        return sum(run.stopped is not None for run in self.with_status("done"))

    @property
    def repeated(self) -> int:
        """How many runs repeat the seed of another one."""
        return len(self.runs) - len(self.seeds)


def summarize(runs: Iterable[Run]) -> list[Cell]:
    """Group runs into cells, sorted by data, net, rule and what differs (numbers by size).

    Runs of one rule (or label), data set and net whose configuration, or version of the user's own files, differs in
    anything but the seed (and where files lie) become cells of their own, told apart by their labels: they are never
    averaged together.
    """
    groups: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.task, run.net, run.label].append(run)
    return [cell for key in sorted(groups) for cell in _cells(groups[key])]


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as a user writes it: dotted names, a choice's name under its own key.

    Example:
        >>> flatten({"epochs": 5, "rule": {"name": "fa", "settings": {"scale": 0.5}}})
        {'epochs': 5, 'rule': 'fa', 'rule.scale': 0.5}
    """
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if not isinstance(value, Mapping):
            flat[f"{prefix}{key}"] = value
        elif set(value) == {"name", "settings"} and isinstance(value["settings"], Mapping):
            flat[f"{prefix}{key}"] = value["name"]
            flat |= flatten(value["settings"], f"{prefix}{key}.")
        else:
            flat |= flatten(value, f"{prefix}{key}.")
    return flat


def _cells(runs: list[Run]) -> list[Cell]:
    """The cells of one rule, data set and net."""
    by_config: dict[str, list[Run]] = defaultdict(list)
    first: dict[str, dict[str, Any]] = {}
    for run, compared in zip(runs, _all_compared(runs), strict=True):
        key = json.dumps(compared, sort_keys=True)
        by_config[key].append(run)
        first.setdefault(key, compared)
    names = sorted({name for config in first.values() for name in config}, key=_of_the_rule_first)
    differing = [
        name
        for name in names
        if len({_spell(config, name) for config in first.values()}) > 1
        or any(_is_unusual(name, config.get(name)) for config in first.values())
    ]
    in_order = sorted(
        zip(first.values(), by_config.values(), strict=True),
        key=lambda pair: [_rank(pair[0], name) for name in differing],
    )
    return [
        Cell(
            members[0].label,
            members[0].task,
            members[0].net,
            ", ".join(_spell(config, name) for name in differing),
            tuple(sorted(members, key=lambda run: (run.seed, run.folder))),
        )
        for config, members in in_order
    ]


def _is_unusual(name: str, value: Any) -> bool:
    return name in ALWAYS_SAID and value not in (None, ALWAYS_SAID[name])


def _all_compared(runs: list[Run]) -> list[dict[str, Any]]:
    """What runs must have in common: settings and versions. One that recorded no version has the only one there is."""
    versions = [_versions(run) for run in runs]
    there = {name: {one[name] for one in versions if name in one} for found in versions for name in found}
    silent = {name: next(iter(found)) if len(found) == 1 else "unrecorded" for name, found in there.items()}
    return [{**_compared(run), **silent, **own} for run, own in zip(runs, versions, strict=True)]


def _compared(run: Run) -> dict[str, Any]:
    full = {**BEFORE_THEY_WERE_RECORDED, **flatten(run.config), "loss": run.loss}
    return {name: value for name, value in full.items() if name not in NOT_PART_OF_A_CELL}


def _versions(run: Run) -> dict[str, str]:
    """The versions of the user's own files, and of official ones of the data, that the run is made of, by a few digits.

    A run that was resumed with another version, as older ones could be, has each of them.
    """
    places = [run.environment, *run.environment.get("resumed", [])]
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for place in places:
        for file, digest in place.get("files", {}).items():
            found[PurePath(file).name][digest[:7]] = None
        if "examples" in place:
            found["examples"][place["examples"][:7]] = None
    return {name: "+".join(digests) for name, digests in found.items()}


def _of_the_rule_first(name: str) -> tuple[bool, str]:
    return not name.startswith("rule."), name


def _rank(config: Mapping[str, Any], name: str) -> tuple[int, float, str]:
    """Where a value stands among others: numbers by size, then the rest by spelling."""
    value = number(config, name)
    return (0, value, "") if value is not None else (1, 0.0, _spell(config, name))


def _spell(config: Mapping[str, Any], name: str) -> str:
    """``optimizer.lr=0.1``; a setting that only other cells give is at its default in this one."""
    if name not in config:
        return f"{name}=default"
    value = config[name]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return f"{name}={' '.join(value)}"
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"
