"""When a trial of the published runs stops: at the first look after which its error hardly changes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Stopping:
    """Looks at the mean squared error after ``least`` steps and then every so many.

    Attributes:
        least: steps that are always taken, and the first look.
        every: steps from look to look.
        change: a trial stops at a look when its mean squared error differs from the last look's by less than this.
        most: the cap, None for none: the last look, whatever it shows.
    """

    least: int
    every: int = 1000
    change: float = 1e-3
    most: int | None = None

    def looks(self) -> Iterator[int]:
        """The steps at which to look, in order.

        Example:
            >>> list(Stopping(2500, most=4000).looks())
            [2500, 3500, 4000]
        """
        step = self.least
        while self.most is None or step < self.most:
            yield step
            step += self.every
        yield self.most

    def settled(self, before: Tensor | None, now: Tensor) -> Tensor:
        """Which trials stop by the rule.

        A trial whose error is not finite has diverged, and stops too.

        Args:
            before: mean squared errors at the last look, None at the first.
            now: those at this one.
        """
        diverged = ~now.isfinite()
        return diverged if before is None else diverged | ((now - before).abs() < self.change)


def least_steps(width: int) -> int:
    """How many steps the published runs take at the least: ⌊5000 √p / 14⌋.

    Example:
        >>> least_steps(200), least_steps(3200)
        (5050, 20203)
    """
    return math.isqrt(5000**2 * width) // 14
