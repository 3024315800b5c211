"""How large a rule's update is, alone and beside backpropagation's."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from biograd.diagnostics.angle import norm
from biograd.diagnostics.updates import updates
from biograd.rules.base import Loss, Rule


def norm_ratios(net: nn.Module, rule: Rule, x: Any, y: Any, loss_fn: Loss) -> dict[str, float]:
    """Norm of the rule's update of each weight, divided by that of backpropagation's on the same batch.

    Returns:
        Parameter name to ratio, at least 0. A weight that the rule does not teach has no entry; one whose
        gradient under backpropagation is zero has nan.
    """
    found = updates(net, rule, x, y, loss_fn)
    return ratios_between(norms(found.taught), norms(found.reference))


def ratios_between(taught: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    """The ratios of `norm_ratios`, from norms already at hand: one for each name in both."""
    shared = [name for name in reference if name in taught]
    return {name: taught[name] / reference[name] if reference[name] else math.nan for name in shared}


def norms(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Euclidean norm of each tensor, computed in float64; nan where a tensor is not finite.

    Two of the checks of arXiv 2606.21126 read it, in the net's order: *scale stability*, that the norms of
    a rule's updates (``updates(…).taught``) stay within a few orders of magnitude over depth and time; and
    *reference validity*, that backpropagation's own (``updates(…).reference``) has not fallen to where
    rounding errors alone give it a direction.
    """
    return {name: norm(tensor) for name, tensor in tensors.items()}
