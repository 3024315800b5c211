"""GAIT-prop by hand, linearised: backpropagation with the inverse for the transpose, kept from step to step."""

import math
from typing import Any

import torch
from torch import Tensor

from biograd.bench.by_hand.chain import Chain, Layer
from biograd.bench.by_hand.defaults import defaults
from biograd.bench.by_hand.feedback import Layerwise
from biograd.credit.back.inverses import pseudo_inverse


class KeptInverse:
    r""":math:`e = \delta X`, then :math:`e \leftarrow e + (\delta - e W) X`, with an X from an earlier step.

    X is made anew as `biograd.credit.back.inverses.KeptInverse` says.

    Args:
        layer: square.
        tolerance: largest relative residual after the correction.
    """

    def __init__(self, layer: Layer, tolerance: float) -> None:
        self._W = layer.W.t()  # (in, out)
        self._limit, self._residual, self._age = math.sqrt(tolerance / 2), 1.0, -1
        self._missing = torch.empty_like(layer.signal)
        self._X = layer.W

    def __call__(self, delta: Tensor, below: Tensor) -> None:
        """Send δ down, ``(batch, out)``."""
        if self._residual * (1 + 1 / max(self._age, 1)) > self._limit:
            self._renew()
        self._send(delta, below)
        if self._residual > self._limit and delta.any():
            self._renew()
            self._send(delta, below)

    def _renew(self) -> None:
        self._X, self._age = pseudo_inverse(self._W, "").contiguous(), -1

    def _send(self, delta: Tensor, below: Tensor) -> None:
        self._age += 1
        # e = δ X
        torch.mm(delta, self._X, out=below)
        # δ − e W
        torch.addmm(delta, below, self._W, alpha=-1, out=self._missing)
        scale = torch.linalg.vector_norm(delta).item()
        self._residual = torch.linalg.vector_norm(self._missing).item() / scale if scale else 1.0
        # e ← e + (δ − e W) X
        below.addmm_(self._missing, self._X) if self._residual < 1 else below.zero_()


class ExactInverse:
    """The pseudo-inverse of a layer with more inputs than outputs that count, by QR at every step."""

    def __init__(self, layer: Layer) -> None:
        self._W = layer.W.t()  # (in, out)

    def __call__(self, delta: Tensor, below: Tensor) -> None:
        """Send δ down, ``(batch, out)``."""
        # W = Q R, so W⁺ = R⁻¹ Qᵀ
        Q, R = torch.linalg.qr(self._W)
        torch.mm(torch.linalg.solve_triangular(R, delta, upper=True, left=False), Q.t(), out=below)


def gait_prop(chain: Chain, rule: Any) -> Layerwise | None:
    """Inverses of its own, kept where a layer is square; None where a layer has more outputs than inputs."""
    above, tolerance = chain.layers[1:], defaults(rule)["inverse.tolerance"]
    if any(layer.W.shape[0] > layer.W.shape[1] for layer in above):
        return None
    inverses = [
        KeptInverse(layer, tolerance) if layer.W.shape[0] == layer.W.shape[1] else ExactInverse(layer)
        for layer in above
    ]
    # e_{l−1} = (e_l D_l) W_l⁻¹
    return Layerwise(chain, lambda place, layer, below: inverses[place - 1](layer.signal, below))
