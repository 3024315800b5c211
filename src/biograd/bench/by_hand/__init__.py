"""Updates of rules written by hand: what a step costs on a chain of linear layers beside the arithmetic itself.

Each fills the gradients that its rule fills for the mean cross-entropy of classes, equal to rounding, in plain tensor
operations: no autograd, no hooks, one formula for the derivative of a nonlinearity, and buffers that are kept, those of
gradients too, which each step fills anew. What a rule's step takes longer is no arithmetic.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from biograd.bench.by_hand.chain import Chain
from biograd.bench.by_hand.direct import direct_feedback_alignment
from biograd.bench.by_hand.feedback import (
    backpropagation,
    feedback_alignment,
    kolen_pollack,
    sign_concordant,
)
from biograd.bench.by_hand.inverses import gait_prop
from biograd.bench.by_hand.local import stdp_association
from biograd.bench.by_hand.targets import (
    difference_target_propagation,
    simplified_difference_target_propagation,
)
from biograd.rules.base import Rule

Update = Callable[[Tensor, Tensor], Tensor]
"""``update(x, y)`` fills the gradients of a batch of the size that it was made for, and gives the loss."""

UPDATES: Mapping[str, Callable[[Chain, Any], Update | None]] = {
    "bp": backpropagation,
    "fa": feedback_alignment,
    "usf": sign_concordant,
    "kp": kolen_pollack,
    "dfa": direct_feedback_alignment,
    "stdp-association": stdp_association,
    "dtp": difference_target_propagation,
    "sdtp": simplified_difference_target_propagation,
    "gait-prop": gait_prop,
}
"""By the name of the rule: what makes the update of a chain and of the rule."""


def by_hand(name: str, rule: Rule, net: nn.Module, batch: int) -> Update | None:
    """The update of a rule by hand, on the net's own weights and the rule's own feedback as they will be.

    What a rule draws comes from a copy of its stream as it is now; inverses are kept beside the rule's own.

    Args:
        name: of the rule.
        rule: with its settings at their defaults.
        net: which it teaches.
        batch: how many examples.

    Returns:
        None where the rule has none, or the net is no chain of linear layers with biases and nonlinearities whose
        formulas are known.
    """
    chain = Chain.of(net, batch) if name in UPDATES else None
    return None if chain is None else UPDATES[name](chain, rule)
