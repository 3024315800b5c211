"""The tasks from easy to hard on which a rule is tried, and the baselines that it stands beside on each."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from biograd import rules
from biograd.errors import UserMistake, brief
from biograd.settings import describe
from biograd.studies.study import Budget, BudgetName, StudyCell, Tuning

BASELINES = ("bp", "shallow", "frozen")
"""What a rule is to come near, and what it has to beat: nothing below the last block learns, and no hidden matrix."""


@dataclass(frozen=True)
class Rung:
    """A data set and a net, with one budget for every rule.

    Attributes:
        name: the folder of its runs.
        title: what tables and figures call it.
        configuration: nested names as a configuration file has them, without a rule.
        full: the budget of results.
        quick: of a first look; None where a first look would take too long.
        has_units: whether blocks of the net hold several weight layers, as residual units do. Rules that teach block by
            block take errors through them exactly, and their rows say so.
    """

    name: str
    title: str
    configuration: Mapping[str, Any]
    full: Budget
    quick: Budget | None
    has_units: bool = False

    @property
    def data(self) -> str:
        """The data set's name."""
        return _name(self.configuration["data"])

    @property
    def net(self) -> str:
        """The net's name."""
        return _name(self.configuration["net"])

    def budget(self, name: BudgetName) -> Budget | None:
        """How much everything on it is trained, None where a first look leaves it out."""
        return self.quick if name == "quick" else self.full

    def layer(self, rule: str | Mapping[str, Any]) -> dict[str, Any]:
        """The configuration of a rule on this rung.

        Args:
            rule: a name, or a table of a name and settings.
        """
        given = {"name": rule} if isinstance(rule, str) else dict(rule)
        settings = {setting.name for setting in describe(rules.REGISTRY.find(given["name"]))}
        is_cut = self.has_units and "inside" in settings and not given.get("blocks")
        return {**self.configuration, "rule": {**({"inside": "exact"} if is_cut else {}), **given}}

    def cells(self, contenders: Mapping[str, str | Mapping[str, Any]]) -> list[StudyCell]:
        """A cell for each of several rules.

        Args:
            contenders: by label, a name or a table.
        """
        return [
            StudyCell(f"{self.name}/{label}", self.layer(rule), full=self.full, quick=self.quick)
            for label, rule in contenders.items()
        ]


def _name(choice: str | Mapping[str, Any]) -> str:
    return choice if isinstance(choice, str) else choice["name"]


def _searched(seeds: int, epochs: int, trials: int, trial_epochs: int) -> Budget:
    return Budget(seeds, epochs, Tuning(trials, trial_epochs))


LADDER = (
    Rung(
        "iris",
        "Iris",
        {
            "diagnostics_every": 100,
            "data": "iris",
            "net": {"name": "mlp", "widths": (64, 64)},
            "batch_size": 10,
            "validation_fraction": 0.25,
        },
        full=_searched(10, 60, 20, 40),
        quick=_searched(3, 40, 8, 20),
    ),
    Rung(
        "digits",
        "Digits",
        {
            "diagnostics_every": 100,
            "data": "digits",
            "net": {"name": "mlp", "widths": (128, 128)},
            "batch_size": 50,
        },
        full=_searched(10, 20, 20, 10),
        quick=_searched(3, 10, 8, 5),
    ),
    Rung(
        "mnist-fc",
        "MNIST FC",
        {"diagnostics_every": 500, "data": "mnist", "net": "bartunov-mnist-fc"},
        full=_searched(3, 60, 20, 10),
        quick=_searched(2, 3, 4, 1),
    ),
    Rung(
        "mnist-lc",
        "MNIST LC",
        {"diagnostics_every": 500, "data": "mnist", "net": "bartunov-mnist-lc"},
        full=_searched(3, 14, 8, 4),
        quick=_searched(2, 1, 2, 1),
    ),
    Rung(
        "fashion-fc",
        "Fashion-MNIST FC",
        {"diagnostics_every": 500, "data": "fashion-mnist", "net": "bartunov-mnist-fc"},
        full=_searched(3, 60, 20, 10),
        quick=_searched(2, 3, 4, 1),
    ),
    Rung(
        "cifar-fc",
        "CIFAR-10 FC",
        {"diagnostics_every": 500, "data": "cifar10", "net": "bartunov-cifar-fc"},
        full=_searched(3, 32, 8, 6),
        quick=_searched(2, 2, 2, 1),
    ),
    Rung(
        "cifar-lc",
        "CIFAR-10 LC",
        {"diagnostics_every": 500, "data": "cifar10", "net": "bartunov-cifar-lc"},
        full=_searched(3, 4, 4, 2),
        quick=None,
    ),
    Rung(
        "cifar-resnet20",
        "CIFAR-10 ResNet-20",
        {"diagnostics_every": 350, "data": "cifar10", "net": "resnet20", "batch_size": 128},
        full=_searched(3, 4, 4, 2),
        quick=None,
        has_units=True,
    ),
    Rung(
        "imagenet-resnet18",
        "ImageNet ResNet-18",
        {
            "diagnostics_every": 5000,
            "data": {"name": "folder:imagenet", "size": 224, "flip": True},
            "net": "resnet18",
            "batch_size": 256,
        },
        full=_searched(1, 10, 4, 1),
        quick=None,
        has_units=True,
    ),
)
"""From the bottom up. The last wants a folder ``imagenet``, with ``train`` and ``val``, where one is."""


def chosen(ladder: Sequence[Rung], patterns: str | Sequence[str]) -> list[Rung]:
    """The rungs whose names fit one of some patterns.

    Raises:
        UserMistake: a pattern fits none; the message names the nearest.
    """
    patterns = [patterns] if isinstance(patterns, str) else patterns
    names = [rung.name for rung in ladder]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.6)
            meant = f"did you mean {near[0]}? " if near else ""
            raise UserMistake(
                f"no rung fits {brief(pattern)}: {meant}There are {', '.join(names)} (* stands for anything)"
            )
    return [rung for rung in ladder if any(fnmatchcase(rung.name, pattern) for pattern in patterns)]
