"""The angle between the weights that errors travel back through and those that carry activity forward."""

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from biograd.credit import unwrap
from biograd.credit.feedback.computed_weights import computed_weights
from biograd.credit.isolation import isolated
from biograd.credit.structures import copied
from biograd.diagnostics.angle import angle
from biograd.rules.base import Rule


def feedback_angles(net: nn.Module, rule: Rule, x: Any = None) -> dict[str, float]:
    """Angle in degrees between each weight of the net and what `Rule.feedback_matrices` shows for it.

    0° is weight symmetry, as backpropagation has it; random feedback starts near 90°. Sign-concordant
    feedback is compared as it is used, signs included; feedback that is redrawn for every batch, as the last
    batch used it. Net and rule are left as they were.

    Args:
        net: the net the rule was made for.
        rule: any rule.
        x: a batch of inputs; where given, the net is run once and weights below which no error travels (those of
            the first layer) are left out, since their feedback is never used; see `Rule.carrying_names`.

    Returns:
        Parameter name to angle, nan where a matrix is all zero. Empty for rules that hand out teaching
        signals otherwise (backpropagation, direct feedback): they have no such weights.
    """
    if rule.feedback_matrices is None:
        return {}
    net, rule = unwrap(net), copy.deepcopy(rule)  # should it draw, the copy draws
    assert rule.feedback_matrices is not None
    matrices = rule.feedback_matrices(net)
    used = matrices if x is None else carrying_names(net, rule, x)
    computed = {name: weight.now() for name, weight in computed_weights(net).items() if name in used}
    weights = {**dict(net.named_parameters()), **computed}
    return {name: angle(matrix, weights[name]) for name, matrix in matrices.items() if name in used}


def carrying_names(net: nn.Module, rule: Rule, x: Any) -> Collection[str]:
    """See `Rule.carrying_names`; empty for a rule without. The net is left as it was."""
    if rule.carrying_names is None:
        return ()
    with isolated(net, devices_of=x), torch.enable_grad():
        return rule.carrying_names(net, copied(x))
