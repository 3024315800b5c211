"""Backpropagation and layer-wise feedback by hand: one pass down, another weight in place of each W."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from biograd.bench.by_hand.chain import Chain, Layer

Send = Callable[[int, Layer, Tensor], object]
"""``send(place, layer, below)`` puts into ``below`` what goes down from δ in a layer's ``signal``."""


class Layerwise:
    r""":math:`\delta_l = (B_{l+1} \delta_{l+1}) \circ \varphi'(a_l)`.

    Args:
        chain: the net.
        send: the product with B.
        teach_feedback: what is left to do once the net is taught, where feedback learns.
    """

    def __init__(self, chain: Chain, send: Send, teach_feedback: Callable[[], object] | None = None) -> None:
        self._chain, self._send, self._teach_feedback = chain, send, teach_feedback

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Fill the gradients; the loss."""
        layers, inputs = self._chain.layers, self._chain.inputs(x)
        loss = self._chain.error(x, y)
        for place in reversed(range(1, len(layers))):
            layers[place].teach(inputs[place])
            # B_l δ_l
            self._send(place, layers[place], layers[place - 1].signal)
        layers[0].teach(inputs[0])
        if self._teach_feedback is not None:
            self._teach_feedback()
        return loss


def backpropagation(chain: Chain, rule: Any) -> Layerwise:
    """B = Wᵀ."""
    del rule
    return Layerwise(chain, lambda place, layer, below: torch.mm(layer.signal, layer.W, out=below))


def feedback_alignment(chain: Chain, rule: Any) -> Layerwise:
    """B as the rule drew it."""
    return Layerwise(chain, _through(chain, [rule.B[name] for name in chain.names]))


def kolen_pollack(chain: Chain, rule: Any) -> Layerwise:
    """B as it is now; it learns what W learns, in gradients of its own, since clipping may scale them."""
    B = [rule.B[name] for name in chain.names]
    gradients = [torch.empty_like(matrix) for matrix in B]

    def teach_feedback() -> None:
        # ΔB = ΔW
        for matrix, gradient, layer in zip(B, gradients, chain.layers, strict=True):
            matrix.grad = gradient.copy_(layer.gradient)

    return Layerwise(chain, _through(chain, [matrix.detach() for matrix in B]), teach_feedback)


def sign_concordant(chain: Chain, rule: Any) -> Layerwise:
    """B of the signs that W has now."""
    s = [rule.magnitude[name] for name in chain.names]
    buffers = [torch.empty_like(layer.W) for layer in chain.layers]

    def send(place: int, layer: Layer, below: Tensor) -> None:
        # B = sign(W)ᵀ s
        torch.mm(layer.signal, torch.copysign(s[place], layer.W, out=buffers[place]), out=below)

    return Layerwise(chain, send)


def _through(chain: Chain, weights: list[Tensor]) -> Send:
    """The product with a weight, of those units that are passed on."""
    B = [weight[: len(layer.W)] for weight, layer in zip(weights, chain.layers, strict=True)]
    return lambda place, layer, below: torch.mm(layer.signal, B[place], out=below)
