"""How near to the update by hand, and to backpropagation, each rule's step has to come: the benchmark's yardstick."""

from typing import NamedTuple

FEEDBACK_RULES = ("fa", "usf", "frsf", "kp", "brsf")
"""Without the weight mirror: its mirror phase, one a step by default, is a pass of its own."""


class Limit(NamedTuple):
    """Ratios of step times, measured in one run with one thread.

    Attributes:
        at_most: a larger ratio is a regression.
        aim: the best that is to be hoped for.
    """

    at_most: float
    aim: float


OF_REFERENCE = Limit(1.10, 1.02)
"""Beside the update by hand, on any processor: what is more is no arithmetic."""

LIMITS: dict[tuple[str, str], Limit] = {
    **{
        (rule, net): Limit(1.00, 0.90)
        for rule in ("fa", "dfa", "drtp", "stdp-association")
        for net in ("mlp", "bartunov-mnist-fc")
    },
    # rules without an update by hand
    ("frsf", "mlp"): Limit(1.06, 0.97),
    ("brsf", "mlp"): Limit(1.60, 1.20),  # the random draw is the cost
    ("shallow", "mlp"): Limit(0.42, 0.34),
    **{(rule, net): Limit(1.08, 1.00) for rule in FEEDBACK_RULES for net in ("convnet", "resnet20")},
}
"""Beside plain backpropagation, by rule and benchmark net; the other pairs have no limit."""

RESIDUAL = 1e-3
"""How far a signal through a kept inverse may be from solving its equation, relative to the signal."""
