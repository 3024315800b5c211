"""When a trial of the published runs stops: after so many steps, once its error hardly changes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stopping:
    """A look at the mean squared error every so many steps, from the beginning.

    A trial stops as soon as it has taken ``least`` steps and the last look found that its error had changed by less
    than ``change`` since the look before.

    Attributes:
        least: steps that are always taken.
        every: steps from look to look.
        change: of the mean squared error, absolute.
        most: the cap, None for none: no step is taken beyond it, whatever the looks find.
    """

    least: int
    every: int = 1000
    change: float = 1e-3
    most: int | None = None

    def times(self) -> Iterator[int]:
        """The steps after which a trial is looked at or may stop, in order.

        Example:
            >>> list(Stopping(2500, most=4200).times())
            [1000, 2000, 2500, 3000, 4000, 4200]
        """
        step = 0
        while step != self.most:
            marks = [(step // self.every + 1) * self.every, self.least, self.most]
            step = min(mark for mark in marks if mark is not None and mark > step)
            yield step

    def is_look(self, step: int) -> bool:
        """Whether there is a look after this step."""
        return step % self.every == 0

    def settled(self, before: Tensor | None, now: Tensor) -> Tensor:
        """Which trials have settled.

        Args:
            before: mean squared errors at the last look, None at the first, where none has.
            now: those at this one.
        """
        return (
            torch.zeros_like(now, dtype=torch.bool) if before is None else (now - before).abs() < self.change
        )


def least_steps(width: int) -> int:
    """How many steps the published runs take at the least: ⌊5000 √p / 14⌋.

    Example:
        >>> least_steps(200), least_steps(3200)
        (5050, 20203)
    """
    return math.isqrt(5000**2 * width) // 14
