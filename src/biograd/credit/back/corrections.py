r"""How often a signal through a kept inverse is corrected, and when another inverse is cheaper.

With an inverse X of earlier weights :math:`e = \delta X` leaves :math:`\rho_0` of a signal δ, and each correction
:math:`e \leftarrow e + (\delta - e W) X` makes of what is left :math:`\rho_{k+1} = q\,\rho_k` for some rate q.
"""

import math

from torch import Tensor

FARTHEST = 0.2
"""The largest ρ₀ from which the number of corrections is foretold, by q = ρ₀; beyond it rates are much worse."""


def further(rho: float, rate: float, enough: float) -> float:
    """How many corrections it takes beyond one that leaves ``rho * rate``; infinite where they lead nowhere.

    Args:
        rho: what was missing before that one.
        rate: by what it makes that less; the worst so far, as rates rise once what is easily corrected is gone.
        enough: what may be left.
    """
    left = rho * rate
    if left <= enough:
        return 0.0
    return math.log(enough / left) / math.log(rate) if 0 < rate < 1 else math.inf


def foretold(rho: float, enough: float) -> int:
    """How many corrections it takes at the rate ρ < 1, at least one."""
    return max(1, math.ceil(math.log(enough) / math.log(rho)) - 1) if rho > 0 else 1


def cost_of_another(W: Tensor, rows: Tensor) -> float:
    r"""What it costs to make an inverse anew, in corrections of so many rows.

    An inverse of n × n takes :math:`\frac83 n^3` operations, at about half the speed of the :math:`4 n^2` a row that a
    correction takes.

    Args:
        W: ``(n, n)``.
        rows: ``(rows, n)``.
    """
    return 4 * W.shape[0] / (3 * max(rows.shape[0], 1))


def is_dear(last: int, total: int, calls: int, cost: float) -> bool:
    """Whether a call took more corrections than calls took on average, with what it cost to make the inverse.

    From there on each further call would raise the average, and another inverse lowers it.

    Args:
        last: corrections of the last call.
        total: of all calls since the inverse was made.
        calls: how many these are.
        cost: of making it, in corrections.
    """
    return last * calls > cost + total
