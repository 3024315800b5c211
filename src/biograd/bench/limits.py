"""How near to backpropagation each rule's step has to come, and how near it could: the benchmark's yardstick."""

from typing import NamedTuple

FEEDBACK_RULES = ("fa", "usf", "frsf", "kp", "brsf")
"""Without the weight mirror: its mirror phase, one a step by default, is a pass of its own."""


class Limit(NamedTuple):
    """Ratios of step times, measured in one run with one thread.

    Attributes:
        at_most: a larger ratio is a regression.
        aim: what the operations cost, or the best that was seen.
    """

    at_most: float
    aim: float


LIMITS: dict[tuple[str, str], Limit] = {
    ("bp", "mlp"): Limit(1.03, 1.00),
    ("fa", "mlp"): Limit(1.03, 0.92),
    ("usf", "mlp"): Limit(1.06, 0.97),
    ("frsf", "mlp"): Limit(1.06, 0.97),
    ("kp", "mlp"): Limit(1.06, 0.97),
    ("brsf", "mlp"): Limit(1.60, 1.20),  # the random draw is the cost
    ("dfa", "mlp"): Limit(0.80, 0.73),  # the aim is the operation count
    ("drtp", "mlp"): Limit(0.80, 0.73),
    ("stdp-association", "mlp"): Limit(0.80, 0.73),
    ("shallow", "mlp"): Limit(0.42, 0.34),
    ("dtp", "bartunov-mnist-fc"): Limit(2.20, 1.90),  # the aim is the operation count
    ("gait-prop", "square"): Limit(2.00, 1.70),
    **{(rule, net): Limit(1.08, 1.00) for rule in FEEDBACK_RULES for net in ("convnet", "resnet20")},
}
"""By rule and benchmark net; the other pairs have no limit."""

RESIDUAL = 1e-3
"""How far a signal through a kept inverse may be from solving its equation, relative to the signal."""
