"""What is measured of a run under attack: attacks, sizes, budgets."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

from biograd.errors import UserMistake
from biograd.records.robustness import AttackSettingsRow

ATTACKS = ("fgsm", "pgd", "square", "transfer")
GRADIENTS = ("true", "rule")


@dataclass(frozen=True)
class AttackSettings:
    """The settings of a measurement, the same for every run that is to be compared.

    Attributes:
        attacks: of `ATTACKS`. ``transfer`` makes its examples by PGD on another run.
        gradients: of `GRADIENTS`, for FGSM and PGD: ``true`` through the forward model, ``rule`` through the rule's
            own feedback.
        epsilons: sizes of the attack, ≥ 0, in the units of the input before standardisation; None for the
            defaults of its kind (see `biograd.robustness.domain`).
        steps: of PGD, ≥ 1.
        step_size: of PGD, in the same units; None for 2.5 ε / steps.
        restarts: of PGD, ≥ 1.
        queries: of the square attack, for each example, ≥ 2.
        examples: how many of the test set, after a shuffle by ``seed``; None for all.
        seed: of that shuffle, of random starts and of the square attack.

    Raises:
        UserMistake: a value is out of its range.
    """

    attacks: Sequence[str] = ATTACKS
    gradients: Sequence[str] = GRADIENTS
    epsilons: Sequence[float] | None = None
    steps: int = 20
    step_size: float | None = None
    restarts: int = 1
    queries: int = 500
    examples: int | None = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("attacks", ATTACKS), ("gradients", GRADIENTS)):
            object.__setattr__(self, name, _chosen(name, getattr(self, name), known))
        if self.epsilons is not None:
            object.__setattr__(self, "epsilons", _sizes(self.epsilons))
        for name, least in (("steps", 1), ("restarts", 1), ("queries", 2), ("examples", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserMistake(f"{name} is {value}, expected at least {least}")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise UserMistake(f"step_size is {self.step_size}, expected a number > 0")

    def to_json(self) -> AttackSettingsRow:
        """As a record holds them."""
        return cast("AttackSettingsRow", asdict(self))


def _chosen(name: str, given: Sequence[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The names in the order in which they are known, so that theirs makes no difference."""
    unknown = [one for one in given if one not in known]
    if unknown or not given:
        what = repr(unknown[0]) if unknown else "none"
        raise UserMistake(f"{name}: got {what}, expected some of {', '.join(known)}")
    return tuple(one for one in known if one in given)


def _sizes(given: Sequence[float]) -> tuple[float, ...]:
    wrong = next((one for one in given if not 0 <= one < math.inf), None)
    if wrong is not None or not given:
        raise UserMistake(f"epsilons are numbers ≥ 0, got {'none' if wrong is None else wrong}")
    return tuple(sorted({float(one) for one in given}))
