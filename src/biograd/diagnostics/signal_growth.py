"""How much larger the activity of each block is than that of the block below: whether signals explode."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import nn

from biograd.credit import unwrap
from biograd.credit.chain.blocks import is_chain
from biograd.diagnostics.activity import activities


def signal_growths(net: nn.Module, x: Any) -> dict[str, float]:
    r"""The activity of each block of a chain as a multiple of that of the block below, on one batch.

    .. math:: \frac{\mathrm{rms}(h_{l+1})}{\mathrm{rms}(h_l)}

    with the `activities` of the blocks. Along a residual stream, whose width is the same everywhere, it is
    :math:`\lVert h_{l+1}\rVert / \lVert h_l\rVert`. Above `biograd.checks.EXPLODING` it is a warning.

    Args:
        net: any module, run once and left as it was.
        x: a batch of inputs.

    Returns:
        Name of each block but the first to ratio, in order; not finite behind a silent block. Empty where the net is no
        chain, whose layers have no one order.
    """
    return growths_between(net, activities(net, x))


def growths_between(net: nn.Module, found: Mapping[str, float]) -> dict[str, float]:
    """The ratios of `signal_growths`, from activities already at hand."""
    if not is_chain(unwrap(net)):
        return {}
    return {
        above: found[above] / found[below] if found[below] else float("nan")
        for below, above in pairwise(found)
    }
