"""Who is searched, and under which budget."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import MinLen

from biograd.errors import UserMistake
from biograd.settings import Strategy
from biograd.training import RunConfig, config_layers
from biograd.training.config import given_by
from biograd.tuning.space import Point, Space, required, space_of

TRIALS = "trials"
"""The folder of all searches, beside the runs of what was chosen."""


@dataclass(frozen=True, kw_only=True)
class Sobol(Strategy):
    """Scrambled Sobol points: the ranked track."""

    name: ClassVar[str] = "sobol"


@dataclass(frozen=True, kw_only=True)
class Tpe(Strategy):
    """Trials that learn from those before them, by optuna: for exploring, not for ranking.

    Args:
        storage: where trials are kept that several processes share, ``postgresql://…``; None for SQLite in the folder.
        pruner: ``median`` ends a trial that is worse, after an epoch, than half of those before it; ``none`` ends none.
    """

    name: ClassVar[str] = "tpe"
    storage: Annotated[str, MinLen(1)] | None = None
    pruner: Literal["median", "none"] = "median"


@dataclass(frozen=True)
class Contender:
    """What is searched: a rule under the settings that are fixed for it.

    Attributes:
        label: what tables and folders call it.
        layer: what is given of it, over all defaults.
        space: what trials vary.
    """

    label: str
    layer: Mapping[str, Any]
    space: Space

    @classmethod
    def of(cls, layer: Mapping[str, Any], label: str | None = None) -> "Contender":
        """The contender of what is given.

        Args:
            layer: nested names to values, as of a configuration file.
            label: what to call it; None for the title of its configuration.

        Raises:
            UserMistake: a key or value is wrong, nothing is left to search, or nothing is held out to choose by.
        """
        layer = given_by(layer)
        config = RunConfig.from_sources(config_layers.merged(required(layer), layer))
        label = label or config.title
        space = space_of(config, layer)
        if not space:
            raise UserMistake(f"{label}: nothing is left to search, every setting that could be is given")
        if config.validation_fraction == 0:
            raise UserMistake(
                f"{label}: a search chooses on validation data, and validation_fraction is 0: give it a part, 0.1"
            )
        return cls(label, layer, space)

    def trial(self, at: Point, budget: "Budget") -> RunConfig:
        """What a trial at a point trains: the test set unread, and nothing measured but what it is chosen by."""
        epochs = {} if budget.epochs is None else {"epochs": budget.epochs}
        return self.config(at, seed=budget.seed, read_test=False, diagnostics_every=0, **epochs)

    def config(self, at: Point, **own: Any) -> RunConfig:
        """Its configuration at a point of its space, with other keys in place of its own."""
        given: dict[str, Any] = {}
        for name, value in at.items():
            section, dot, setting = name.partition(".")
            given[section] = {**given.get(section, {}), setting: value} if dot else value
        return RunConfig.from_sources(config_layers.merged(dict(self.layer), {**given, **own}))


def trial_folder(contender: Contender, root: Path, number: int) -> Path:
    """Where a trial lies."""
    return root / TRIALS / contender.label / f"{number:03d}"


@dataclass(frozen=True)
class Budget:
    """What every contender gets.

    Attributes:
        trials: points that are tried, ≥ 1.
        epochs: of a trial; None for those of its configuration.
        seed: of the points, and of every trial.
        seeds: from how many fresh ones the chosen setting is trained, ≥ 0; they begin behind ``seed``.
        final_epochs: of the chosen setting; None for those of a trial.
        sampler: what makes the points.
    """

    trials: int
    epochs: int | None = None
    seed: int = 0
    seeds: int = 3
    final_epochs: int | None = None
    sampler: Sobol | Tpe = field(default_factory=Sobol)
