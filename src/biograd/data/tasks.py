"""What a net is to answer: the task of a data set says what its targets are, and losses and metrics follow from it."""

import reprlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from biograd.errors import UserMistake
from biograd.tasks import Kind

if TYPE_CHECKING:
    from torch import Tensor


class Task(ABC):
    """What the targets of a data set are.

    Attributes:
        names: of the outputs that a net has for it, one each.
    """

    kind: ClassVar[Kind]
    """Which of the kinds of `biograd.tasks` it is."""
    answers: ClassVar[str]
    """What each output is of, as messages say it."""
    names: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """How many numbers a net answers, for an example or for a token of it."""
        return len(self.names)

    @abstractmethod
    def check(self, targets: "Tensor", where: str) -> None:
        """Refuse targets that are none of this task; of what is wrong the first example is named.

        Args:
            targets: of at least one example.
            where: what the message calls them.

        Raises:
            UserMistake: another type or shape is needed, or a value is out of range.
        """

    @abstractmethod
    def prepared(self, targets: "Tensor") -> "Tensor":
        """Targets as a loss takes them, in the shape that they have."""

    @abstractmethod
    def output_shape(self, targets: "Tensor") -> tuple[int, ...]:
        """The shape of a net's answer to examples with these targets."""

    @abstractmethod
    def strata(self, targets: "Tensor") -> "Tensor":
        """Which group each example belongs to, ``(n,)`` from 0: a part that is carved has its share of each."""


@dataclass(frozen=True)
class Classes(Task):
    """One of several classes an example: targets ``(n,)`` int64, outputs ``(batch, classes)``.

    Args:
        names: of the classes, at least two.

    Raises:
        UserMistake: they are no names.
    """

    kind: ClassVar[Kind] = "classes"
    answers: ClassVar[str] = "a class"
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_names(self.names, "classes", 2)

    def check(self, targets: "Tensor", where: str) -> None:
        """Refuse what is no class."""
        _check_form(
            targets, 1, "int64", f"{where}: a class an example is a target (n,) torch.int64", ".long()"
        )
        _check_range(targets, self.outputs, where)

    def prepared(self, targets: "Tensor") -> "Tensor":
        """The classes as they are."""
        return targets

    def output_shape(self, targets: "Tensor") -> tuple[int, ...]:
        """``(batch, classes)``."""
        return len(targets), self.outputs

    def strata(self, targets: "Tensor") -> "Tensor":
        """The classes."""
        return targets


@dataclass(frozen=True)
class Regression(Task):
    """Numbers: targets ``(n, outputs)`` float32, outputs ``(batch, outputs)``.

    A net learns (target − mean) / std, and errors are recorded in the units that the targets have.

    Args:
        names: of the numbers, at least one.
        mean: of each, over the training part; see `standardised`.
        std: the standard deviation of each, positive.

    Raises:
        UserMistake: there are not as many names, means and deviations, or they are none.

    Example:
        >>> import torch
        >>> Regression(("litres",), mean=(2.0,), std=(4.0,)).prepared(torch.tensor([[10.0]]))
        tensor([[2.]])
    """

    kind: ClassVar[Kind] = "regression"
    answers: ClassVar[str] = "a number"
    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        from biograd.data.checks import check_numbers

        _check_names(self.names, "numbers to predict", 1)
        for name in ("mean", "std"):
            check_numbers("a regression", name, getattr(self, name))
        if not len(self.names) == len(self.mean) == len(self.std) or min(self.std) <= 0:
            raise UserMistake(
                f"a regression needs a mean and a positive std for each of its {len(self.names)} numbers, got "
                f"{reprlib.repr(self.mean)} and {reprlib.repr(self.std)}"
            )

    @classmethod
    def standardised(cls, names: tuple[str, ...], targets: "Tensor") -> "Regression":
        """With mean and deviation of the targets of a training part; a constant number is only centred.

        Args:
            names: of the numbers.
            targets: ``(n, outputs)``.
        """
        std = targets.double().std(0, correction=0)
        std[std == 0] = 1.0
        return cls(names, tuple(targets.double().mean(0).tolist()), tuple(std.tolist()))

    def check(self, targets: "Tensor", where: str) -> None:
        """Refuse what is no row of finite numbers."""
        wanted = f"{where}: {self.outputs} numbers an example are targets (n, {self.outputs}) torch.float32"
        _check_form(targets, 2, "float32", wanted, ".float()")
        _check_width(targets, self.outputs, wanted)
        _check_each(targets, ~targets.isfinite(), where, "a finite number")

    def prepared(self, targets: "Tensor") -> "Tensor":
        """(target − mean) / std."""
        return (targets - targets.new_tensor(self.mean)) / targets.new_tensor(self.std)

    def output_shape(self, targets: "Tensor") -> tuple[int, ...]:
        """``(batch, outputs)``."""
        return len(targets), self.outputs

    def strata(self, targets: "Tensor") -> "Tensor":
        """All alike."""
        return _one_group(targets)


@dataclass(frozen=True)
class Labels(Task):
    """Any of several labels an example: targets ``(n, labels)`` float32, 1 for those it has and else 0.

    Outputs are ``(batch, labels)``, each the larger the more likely its label is.

    Args:
        names: of the labels, at least one.

    Raises:
        UserMistake: they are no names.
    """

    kind: ClassVar[Kind] = "labels"
    answers: ClassVar[str] = "a label"
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_names(self.names, "labels", 1)

    def check(self, targets: "Tensor", where: str) -> None:
        """Refuse what is not 0 or 1 for each label."""
        wanted = f"{where}: {self.outputs} labels are targets (n, {self.outputs}) torch.float32"
        _check_form(targets, 2, "float32", wanted, ".float()")
        _check_width(targets, self.outputs, wanted)
        _check_each(targets, (targets != 0) & (targets != 1), where, "1 for a label that it has, or 0")

    def prepared(self, targets: "Tensor") -> "Tensor":
        """The labels as they are."""
        return targets

    def output_shape(self, targets: "Tensor") -> tuple[int, ...]:
        """``(batch, labels)``."""
        return len(targets), self.outputs

    def strata(self, targets: "Tensor") -> "Tensor":
        """All alike."""
        return _one_group(targets)


@dataclass(frozen=True)
class Tokens(Task):
    """A class for every token: targets ``(n, tokens)`` int64, outputs ``(batch, tokens, classes)``.

    Args:
        names: of the classes, at least two; in a text, the vocabulary.

    Raises:
        UserMistake: they are no names.
    """

    kind: ClassVar[Kind] = "tokens"
    answers: ClassVar[str] = "a class, for every token"
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_names(self.names, "classes of tokens", 2)

    def check(self, targets: "Tensor", where: str) -> None:
        """Refuse what is no class for every token."""
        _check_form(
            targets, 2, "int64", f"{where}: a class a token is a target (n, tokens) torch.int64", ".long()"
        )
        if not targets.shape[1]:
            raise UserMistake(f"{where}: an example has no token, expected at least one")
        _check_range(targets, self.outputs, where)

    def prepared(self, targets: "Tensor") -> "Tensor":
        """The classes as they are."""
        return targets

    def output_shape(self, targets: "Tensor") -> tuple[int, ...]:
        """``(batch, tokens, classes)``."""
        return *targets.shape, self.outputs

    def strata(self, targets: "Tensor") -> "Tensor":
        """All alike."""
        return _one_group(targets)


def _one_group(targets: "Tensor") -> "Tensor":
    return targets.new_zeros(len(targets)).long()


def _check_names(names: Any, what: str, least: int) -> None:
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise UserMistake(f"{what} are {reprlib.repr(names)}, expected a tuple of their names")
    if len(names) < least:
        raise UserMistake(f"a task has {len(names)} {what}, expected at least {least}")


def _check_form(targets: "Tensor", dimensions: int, dtype: str, wanted: str, mend: str) -> None:
    is_other = str(targets.dtype) != f"torch.{dtype}"
    if targets.ndim != dimensions or is_other:
        got = f"{wanted}, got {tuple(targets.shape)} {targets.dtype}"
        raise UserMistake(f"{got}: use {mend}" if is_other else got)


def _check_width(targets: "Tensor", outputs: int, wanted: str) -> None:
    if targets.shape[1] != outputs:
        raise UserMistake(f"{wanted}, got {tuple(targets.shape)}")


def _check_range(targets: "Tensor", classes: int, where: str) -> None:
    lowest, highest = targets.aminmax()
    if lowest < 0 or highest >= classes:
        wrong = (targets < 0) | (targets >= classes)
        _check_each(targets, wrong, where, f"0 to {classes - 1}, one of its {classes} classes")


def _check_each(targets: "Tensor", wrong: "Tensor", where: str, expected: str) -> None:
    """Refuse targets of which some are wrong."""
    if wrong.any():
        first = int(wrong.flatten(1).any(1).nonzero()[0]) if wrong.ndim > 1 else int(wrong.nonzero()[0])
        value = targets[first][wrong[first]].flatten()[0].item()
        called = "the label" if targets.ndim == 1 else "a target"
        raise UserMistake(f"{where}: {called} of example {first} is {value:g}, expected {expected}")
