"""How far the targets that a rule sets lie from the outputs of the blocks."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit import unwrap
from biograd.credit.isolation import isolated
from biograd.credit.structures import copied
from biograd.diagnostics.angle import norm
from biograd.rules.base import Loss, Rule


def target_distances(net: nn.Module, rule: Rule, x: Any, y: Any, loss_fn: Loss) -> dict[str, float]:
    r"""Distance of each block's target from its output, as a share of the output's own length; see `Rule.targets`.

    .. math:: \frac{\lVert h - \hat h\rVert}{\lVert h\rVert}

    over all examples of the batch and all units at once, in float64: the root-mean-square of
    :math:`h - \hat h` divided by that of h. At least 0, which is a target that teaches nothing; at 1 the target is
    as far from the output as the output is long. Below the rounding of the net's own dtype, about 1e-7 in float32,
    it is noise or 0.

    Cost: what the rule's targets cost, and a copy of its state. Net, rule and random numbers are left as they
    were (see `biograd.diagnostics.updates`).

    Args:
        net: the net the rule was made for.
        rule: any rule.
        x: a batch of inputs.
        y: its labels.
        loss_fn: a differentiable scalar loss, averaged over the batch.

    Returns:
        Block name to distance, nan where the output is all zero or either is not finite. Empty for rules that
        set no targets.

    Raises:
        ValueError: a target has another shape than its output.
    """
    if rule.targets is None:
        return {}
    net, rule = unwrap(net), copy.deepcopy(rule)
    assert rule.targets is not None
    with isolated(net, loss_fn, devices_of=x), torch.enable_grad():
        found = rule.targets(net, *copied((x, y)), loss_fn)
        return {name: _distance(name, h, target) for name, (h, target) in found.items()}


def _distance(name: str, h: Tensor, target: Tensor) -> float:
    if h.shape != target.shape:
        raise ValueError(
            f"the target of block {name!r} is {tuple(target.shape)}, its output {tuple(h.shape)}"
        )
    length = norm(h)
    return norm(h.detach().double() - target.detach().double()) / length if length else math.nan
