"""Direct feedback alignment by hand: the error goes straight to every hidden layer."""

from typing import Any

import torch
from torch import Tensor

from biograd.bench.by_hand.chain import Chain
from biograd.rules.parts.direct_feedback import FullProjection


class Direct:
    r""":math:`\delta_l = (B_l e) \circ \varphi'(a_l)`.

    Args:
        chain: the net.
        B: of each hidden layer, ``(units, outputs)``.
    """

    def __init__(self, chain: Chain, B: list[Tensor]) -> None:
        self._chain, self._B = chain, [matrix.t() for matrix in B]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Fill the gradients; the loss."""
        *hidden, last = self._chain.layers
        loss = self._chain.error(x, y)
        for layer, B in zip(hidden, self._B, strict=True):
            # B_l e
            torch.mm(last.signal, B, out=layer.signal)
        for layer, given in zip(self._chain.layers, self._chain.inputs(x), strict=True):
            layer.teach(given)
        return loss


def direct_feedback_alignment(chain: Chain, rule: Any) -> Direct | None:
    """B as the rule drew it; None where it is no full matrix."""
    projections = list(rule.direct.blocks)
    if not all(type(projection) is FullProjection for projection in projections):
        return None
    return Direct(chain, [projection.B for projection in projections])
