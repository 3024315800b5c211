"""How well each decoder of a rule gets back what its block was given."""

import copy
import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from biograd.credit import unwrap
from biograd.credit.isolation import isolated
from biograd.rules.base import Rule


@runtime_checkable
class HasDecoders(Protocol):
    r"""A rule with decoders, approximate inverses of blocks that it learns or is given."""

    def reconstruction_losses(self, net: nn.Module, x: Tensor) -> dict[str, float]:
        r"""Name of each block that has a decoder :math:`g_l` to the decoder's relative squared error.

        .. math:: \frac{\sum_i \lVert h_{l-1,i} - g_l(h_{l,i})\rVert^2}{\sum_i \lVert h_{l-1,i}\rVert^2}

        over the examples i of the batch, without noise, whatever the decoder is trained on. :math:`h_{l-1}` is what
        block l was given and :math:`h_l` what it gave; nan where :math:`h_{l-1}` is all zero.
        """
        ...


def reconstruction_losses(net: nn.Module, rule: Rule, x: Tensor) -> dict[str, float]:
    r"""Squared error of each decoder's reconstruction, as a share of what it reconstructs.

    .. math:: \frac{\sum \lVert h_{l-1} - g_l(h_l)\rVert^2}{\sum \lVert h_{l-1}\rVert^2}

    over the examples of the batch, as `HasDecoders` says. At least 0, which is an inverse; at 1 the decoder is no
    better than one that always says zero. Relative, so that wide and narrow, loud and quiet layers can be read side
    by side, and of activity without the noise that decoders may be trained with: what a decoder is trained to lower
    may differ.

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
    if not isinstance(rule, HasDecoders):
        return {}
    net, rule = unwrap(net), copy.deepcopy(rule)
    with isolated(net, devices_of=x), torch.no_grad():
        found = rule.reconstruction_losses(net, x.detach().clone())
    return {name: value if math.isfinite(value) else math.nan for name, value in found.items()}
