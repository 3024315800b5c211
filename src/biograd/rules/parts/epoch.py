"""Rules whose epochs differ: the number of the epoch, and whose turn it is."""

import warnings
from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from biograd.errors import UserMistake, brief
from biograd.settings import Meaning

Schedule = Annotated[
    Literal["parallel", "alternating"],
    Meaning(
        "``parallel`` teaches net and decoders on every batch; ``alternating`` the decoders alone in the first, third, "
        "… epoch and the net alone in those between. Count both where budgets are compared"
    ),
]


class Epoch(nn.Module):
    """The number of the epoch, from 0, as `biograd.Rule.begin_epoch` sets it; part of what a rule saves."""

    def __init__(self) -> None:
        super().__init__()
        self._number, self._is_counted = 0, False

    @property
    def number(self) -> int:
        """The number; read only where it makes a difference, so that it warns, once, where nobody counts."""
        if not self._is_counted:
            self._is_counted = True
            warnings.warn(
                "the rule teaches in turns, by the epoch, and nobody counts: call rule.begin_epoch(epoch) before every "
                "epoch, or it stays in its first turn",
                stacklevel=5,
            )
        return self._number

    @number.setter
    def number(self, number: int) -> None:
        if not isinstance(number, int) or number < 0:
            raise UserMistake(
                f"begin_epoch takes the epochs done before, a whole number from 0; got {brief(number)}"
            )
        self._number, self._is_counted = number, True

    def get_extra_state(self) -> Tensor:
        """The number, a scalar int64."""
        return torch.tensor(self._number)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from the state of `get_extra_state`."""
        self.number = int(state)


class Turns(nn.Module, ABC):
    """Interface: what an epoch teaches."""

    @property
    @abstractmethod
    def hidden(self) -> bool:
        """Whether hidden blocks learn."""

    @property
    @abstractmethod
    def output(self) -> bool:
        """Whether the last block learns."""

    @property
    @abstractmethod
    def own(self) -> bool:
        """Whether the rule's own parameters (decoders) learn."""


class Together(Turns):
    """Everything learns in every epoch: the schedule that papers call *parallel*."""

    hidden = output = own = True  # pyright: ignore[reportAssignmentType]


class Alternating(Turns):
    """Epochs 0, 2, … teach the decoders, those between teach the net; a net without decoders learns in every epoch.

    An epoch is one pass over the data, whichever it teaches.

    Args:
        has_decoders: whether there are any.
    """

    def __init__(self, has_decoders: bool) -> None:
        super().__init__()
        self.epoch = Epoch()
        self._has_decoders = has_decoders

    @property
    def own(self) -> bool:
        """Whether this epoch teaches the decoders."""
        return not self._has_decoders or self.epoch.number % 2 == 0

    @property
    def hidden(self) -> bool:
        """Whether this epoch teaches the net."""
        return not (self._has_decoders and self.own)

    output = hidden


class HiddenFirst(Turns):
    """The first epochs teach the hidden blocks alone, those after them the last block alone.

    Args:
        epochs: how many the first ones are; at 0 all blocks learn in every epoch.
    """

    own = False  # pyright: ignore[reportAssignmentType]

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epoch = Epoch()
        self._epochs = epochs

    @property
    def hidden(self) -> bool:
        """Whether this epoch teaches the hidden blocks."""
        return not self._epochs or self.epoch.number < self._epochs

    @property
    def output(self) -> bool:
        """Whether this epoch teaches the last block."""
        return not self._epochs or self.epoch.number >= self._epochs


def turns(schedule: Schedule, *, has_decoders: bool = True) -> Turns:
    """The turns that net and decoders take in one of the schedules of target propagation."""
    return Together() if schedule == "parallel" else Alternating(has_decoders)
