"""What a study is: cells to train under a budget, groups of them to be measured, and what they are held against."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from biograd.errors import UserMistake
from biograd.robustness import AttackSettings
from biograd.studies.quantities import Quantity
from biograd.training import RunConfig

BudgetName = Literal["quick", "full", "paper"]
"""``quick`` takes minutes and shows that all of it works; ``full`` is what a study's claims are judged by; ``paper``
is all that the paper did, where that is more."""

BUDGETS: tuple[BudgetName, ...] = get_args(BudgetName)


@dataclass(frozen=True)
class Tuning:
    """How much a cell is searched before it is trained.

    Attributes:
        trials: points, ≥ 1.
        epochs: of each, ≥ 1.
    """

    trials: int
    epochs: int


@dataclass(frozen=True)
class Budget:
    """How much a cell is trained.

    Attributes:
        seeds: how many, from 0 on, ≥ 1.
        epochs: ≥ 1; None for those of the cell's configuration.
        tuning: how its settings are searched; None where they are those that the cell states.
    """

    seeds: int
    epochs: int | None = None
    tuning: Tuning | None = None


@dataclass(frozen=True)
class StudyCell:
    """One configuration, trained from several seeds.

    Attributes:
        name: of parts with slashes between, ``"mnist/3/bp"``: the folder of the runs, and what ``--cell`` picks by.
            The last part is what tables call the run.
        configuration: nested names as a configuration file has them, without seed and label. What it fixes is not
            searched.
        full: the budget of results; None where only the paper's own would give one.
        quick: the budget of a first look; None leaves the cell out of it.
        paper: the paper's own budget, where that is more than the full one.
        untuned: what goes over the configuration in a budget that searches nothing: the settings that a paper prints.
    """

    name: str
    configuration: Mapping[str, Any]
    full: Budget | None
    quick: Budget | None
    untuned: Mapping[str, Any] = field(default_factory=dict)
    paper: Budget | None = None

    @property
    def label(self) -> str:
        """What tables call the runs."""
        return PurePosixPath(self.name).name

    @property
    def result_epochs(self) -> int:
        """How many epochs a result is trained: those of the full budget, or of the paper's where there is no other."""
        amount = self.full or self.paper
        given = (amount and amount.epochs) or self.configuration.get("epochs")
        return RunConfig.model_fields["epochs"].default if given is None else int(given)

    @property
    def budgets(self) -> list[BudgetName]:
        """Those that train it."""
        return [name for name in BUDGETS if self.budget(name)]

    def budget(self, name: BudgetName) -> Budget | None:
        """How much it is trained under a budget, None where it is not."""
        return {"quick": self.quick, "full": self.full, "paper": self.paper}[name]

    def amount(self, name: BudgetName) -> Budget:
        """How much it is trained under a budget.

        Raises:
            UserMistake: not at all.
        """
        amount = self.budget(name)
        if amount is None:
            raise UserMistake(f"the {name} budget leaves out {self.name!r}")
        return amount


@dataclass(frozen=True)
class Published:
    """A number that somebody has published.

    Attributes:
        value: in the unit of the quantity that it stands beside: accuracies as fractions.
        source: whose it is, and where: ``"Song et al. 2021, table 1"``.
        spread: standard deviation, None where none was given.
        epochs: of the training behind it, where that is longer than the full budget's.
    """

    value: float
    source: str
    spread: float | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Shown:
    """A quantity that a table shows of a group.

    Attributes:
        quantity: what is measured of each run.
        published: the number to stand beside it, None where there is none.
    """

    quantity: Quantity
    published: Published | None = None


@dataclass(frozen=True)
class Group:
    """Cells that a table shows in one row: their mean for each seed, then mean ± sd over seeds.

    Attributes:
        name: what the row is called.
        cells: a pattern (``*``, ``?``, ``[0-9]``) of the names of its cells; ``*`` goes over slashes too.
        shows: what is measured.
    """

    name: str
    cells: str
    shows: tuple[Shown, ...]


@dataclass(frozen=True)
class Claim:
    """Something that the study tests: a bound on a group, or on how far it is from another.

    Attributes:
        statement: in words.
        group: the name of the group.
        quantity: what is compared.
        at_least: the bound, in the quantity's unit: on the mean over seeds, or on that of the difference
            group − ``beside``, seed by seed.
        beside: the name of the group it is held against; None compares with the bound alone.
        caveat: something that speaks against the measurement, and is said beside the verdict where the group's mean
            is above 0.
    """

    statement: str
    group: str
    quantity: Quantity
    at_least: float
    beside: str | None = None
    caveat: Quantity | None = None


@dataclass(frozen=True)
class SensitivityClaim:
    r"""That settings matter more to one cell than to another, by the trials of both.

    A trial falls short of the best one of its cell by :math:`s_i = \max_j a_j - a_i`, with a the accuracy on the
    validation part, 0 where it diverged. What is compared is the mean of the middle half of all :math:`s_i`.

    Attributes:
        statement: in words.
        cell: the name of a cell that the full budget has tuned.
        beside: that of the one that it is held against.
        at_least: the bound on the difference cell − ``beside``, a fraction.
    """

    statement: str
    cell: str
    beside: str
    at_least: float = 0.0


@dataclass(frozen=True)
class RobustnessPlan:
    """What is measured of runs under attack, once they are done.

    Attributes:
        cells: a pattern of the names of the cells whose runs are attacked.
        full: the settings of results, with their ``epsilons``.
        quick: those of a first look, with theirs.

    Raises:
        UserMistake: settings without ``epsilons``, by which a measurement is known again.
    """

    cells: str
    full: AttackSettings
    quick: AttackSettings

    def __post_init__(self) -> None:
        if self.full.epsilons is None or self.quick.epsilons is None:
            raise UserMistake(f"the plan to attack {self.cells!r} names no epsilons: a study states them")

    def settings(self, name: BudgetName) -> AttackSettings:
        """The settings of a budget."""
        return self.quick if name == "quick" else self.full


@dataclass(frozen=True)
class Study:
    """A study as data; see the module of each for what it asks.

    Attributes:
        name: what ``biograd reproduce`` calls it.
        title: a line for tables and the report.
        reference: where the question, or the numbers, come from.
        cells: what is trained.
        groups: the rows of its table.
        claims: what is judged at the full budget.
        robustness: how runs are attacked when all are done; a cell may be in several plans, or in none.
        sensitivities: what is judged at the full budget by trials.

    Raises:
        UserMistake: a name is there twice, a cell is in no group or has no budget, a pattern or claim fits nothing, or
            a claim about trials names a cell without.
    """

    name: str
    title: str
    reference: str
    cells: tuple[StudyCell, ...]
    groups: tuple[Group, ...]
    claims: tuple[Claim, ...] = ()
    robustness: tuple[RobustnessPlan, ...] = ()
    sensitivities: tuple[SensitivityClaim, ...] = ()

    def __post_init__(self) -> None:
        self._refuse_twice("cell", [cell.name for cell in self.cells])
        self._refuse_twice("group", [group.name for group in self.groups])
        for part in (*self.groups, *self.robustness):
            if not self.cells_of(part):
                raise UserMistake(f"study {self.name!r}: no cell fits {part.cells!r}")
        for cell in self.cells:
            if not cell.budgets:
                raise UserMistake(f"study {self.name!r}: no budget trains the cell {cell.name!r}")
            if not any(fnmatchcase(cell.name, group.cells) for group in self.groups):
                raise UserMistake(
                    f"study {self.name!r}: cell {cell.name!r} is in no group, so no table shows it"
                )
        for name in (name for claim in self.claims for name in (claim.group, claim.beside) if name):
            self.group(name)
        tuned = {cell.name for cell in self.cells if cell.full and cell.full.tuning}
        for name in (name for claim in self.sensitivities for name in (claim.cell, claim.beside)):
            if name not in tuned:
                raise UserMistake(f"study {self.name!r} has no cell {name!r} that its full budget has tuned")

    def cells_of(self, part: Group | RobustnessPlan) -> list[StudyCell]:
        """The cells whose names fit the pattern of a group or plan."""
        return [cell for cell in self.cells if fnmatchcase(cell.name, part.cells)]

    def group(self, name: str) -> Group:
        """The group of a name.

        Raises:
            UserMistake: there is none.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise UserMistake(f"study {self.name!r} has no group {name!r}")

    def _refuse_twice(self, kind: str, names: list[str]) -> None:
        for name in names:
            if names.count(name) > 1:
                raise UserMistake(f"study {self.name!r} has the {kind} {name!r} twice")
