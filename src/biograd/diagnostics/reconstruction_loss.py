"""How well each decoder of a rule gives back its block's input."""

import copy
import math
from typing import Any

import torch
from torch import nn

from biograd.credit import unwrap
from biograd.credit.full_precision import full_precision
from biograd.credit.isolation import isolated
from biograd.credit.structures import copied
from biograd.rules.base import Rule


def reconstruction_losses(net: nn.Module, rule: Rule, x: Any) -> dict[str, float]:
    r"""Squared error of each decoder's reconstruction, as a share of what it reconstructs.

    .. math:: \frac{\sum \lVert h_{l-1} - g_l(h_l)\rVert^2}{\sum \lVert h_{l-1}\rVert^2}

    over the examples of the batch, as `Rule.reconstruction_losses` gives it. At least 0, which is an inverse; at 1 the
    decoder is no better than one that always gives zero. It is relative, so that layers of any width and activity can
    be compared. It is measured on activity without noise, and without autocast; what a decoder is trained to lower may
    differ.

    Cost: one forward of the net and of each decoder, and a copy of the rule's state. Net, rule and random
    numbers are left as they were (see `biograd.diagnostics.updates`).

    Args:
        net: the net the rule was made for.
        rule: any rule.
        x: a batch of inputs.

    Returns:
        Name of the block whose input the decoder gives back, to error; nan where that input is all zero or either
        is not finite. Empty for rules without decoders.
    """
    if rule.reconstruction_losses is None:
        return {}
    net, rule = unwrap(net), copy.deepcopy(rule)
    assert rule.reconstruction_losses is not None
    with isolated(net, devices_of=x), torch.no_grad(), full_precision(x):
        found = rule.reconstruction_losses(net, copied(x))
    return {name: value if math.isfinite(value) else math.nan for name, value in found.items()}
