"""Over which range a setting is searched, said in its annotation or beside the rule that wants it."""

import math
from dataclasses import dataclass
from typing import Any

from biograd.errors import UserMistake, brief

DIGITS = 4
"""Significant digits of what is tried: a setting can be typed again, and is the same on every machine."""


@dataclass(frozen=True)
class Uniform:
    """Numbers from ``low`` to ``high``, all alike.

    Raises:
        UserMistake: not ``low < high``, both finite.

    Example:
        >>> Uniform(0.0, 0.4).at(0.5), str(Uniform(0.0, 0.4))
        (0.2, '0 to 0.4')
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise UserMistake(f"a range from {self.low} to {self.high}: expected low < high, both finite")

    def at(self, share: float) -> float:
        """The value that a share of the range, in [0, 1), lies below."""
        return _rounded(self.low + share * (self.high - self.low))

    def __str__(self) -> str:
        """As users read it."""
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class LogUniform:
    """Numbers from ``low`` to ``high`` whose logarithms are all alike.

    Raises:
        UserMistake: not ``0 < low < high``, both finite.

    Example:
        >>> LogUniform(1e-5, 1e-1).at(0.5), str(LogUniform(1e-5, 1e-1))
        (0.001, '1e-05 to 0.1, logarithmic')
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise UserMistake(
                f"a logarithmic range from {self.low} to {self.high}: expected 0 < low < high, both finite"
            )

    def at(self, share: float) -> float:
        """The value that a share of the logarithmic range, in [0, 1), lies below."""
        return _rounded(self.low * (self.high / self.low) ** share)

    def __str__(self) -> str:
        """As users read it."""
        return f"{self.low:g} to {self.high:g}, logarithmic"


@dataclass(frozen=True, init=False)
class Among:
    """One of several values.

    Raises:
        UserMistake: fewer than two, or one twice.

    Example:
        >>> Among(1e-8, 1e-6, 1e-4).at(0.4), str(Among("sum", "mean"))
        (1e-06, 'sum, mean')
    """

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        if len(values) < 2 or any(values.count(value) > 1 for value in values):
            raise UserMistake(
                f"a choice among {brief(list(values))}: expected two values or more, none twice"
            )
        object.__setattr__(self, "values", values)

    def at(self, share: float) -> Any:
        """The value at a share, in [0, 1), of their number."""
        return self.values[int(share * len(self.values))]

    def __str__(self) -> str:
        """As users read it."""
        return ", ".join(str(value).lower() if value is None else str(value) for value in self.values)


Range = Uniform | LogUniform | Among
"""What a search draws a setting from."""


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
