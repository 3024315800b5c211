"""How the regularisation of the second layer goes on in time: λ(t) = λ · factor(t)."""

import math
from collections.abc import Callable

SCHEDULES = ("constant", "cut-off", "decay")

Factor = Callable[[int], float]
"""From the number of steps done to the factor of λ in the next."""


def factor(schedule: str, horizon: int | None) -> Factor:
    """The factor of λ.

    Args:
        schedule: ``constant``, 1; ``cut-off``, 1 in the first T steps and 0 in all that follow;
            ``decay``, exp(-t / T) with the number of steps t done before, so that the first takes all of λ.
        horizon: T ≥ 1, which ``constant`` has no use for.

    Example:
        >>> [factor("cut-off", 2)(step) for step in range(4)]
        [1.0, 1.0, 0.0, 0.0]
    """
    if schedule == "constant" or horizon is None:
        return lambda step: 1.0
    if schedule == "cut-off":
        return lambda step: float(step < horizon)
    return lambda step: math.exp(-step / horizon)
