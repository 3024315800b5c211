"""GAIT-prop by hand, linearised: backpropagation with the inverse for the transpose, kept from step to step."""

from typing import Any

import torch
from torch import Tensor

from biograd.bench.by_hand.chain import Chain, Layer
from biograd.bench.by_hand.defaults import defaults
from biograd.bench.by_hand.feedback import Layerwise
from biograd.credit.back.corrections import cost_of_another, further, is_dear
from biograd.credit.back.pseudo_inverse import pseudo_inverse


class KeptInverse:
    r""":math:`e = \delta X`, then :math:`e \leftarrow e + (\delta - e W) X` until enough, with an earlier X.

    X is made anew as `biograd.credit.back.inverses.KeptInverse` says.

    Args:
        layer: square.
        tolerance: largest relative residual after the corrections.
    """

    def __init__(self, layer: Layer, tolerance: float) -> None:
        self._W = layer.W.t()  # (in, out)
        self._missing, self._X = torch.empty_like(layer.signal), layer.W
        self._enough, self._cost = tolerance / 2, cost_of_another(layer.W, layer.signal)
        self._residual = 1.0  # of the last call, before a correction
        self._calls = self._corrections = self._last = 0  # since X was made, and of the last call

    def __call__(self, delta: Tensor, below: Tensor) -> None:
        """Send δ down, ``(batch, out)``."""
        if self._residual >= 1 or is_dear(self._last, self._corrections, self._calls, self._cost):
            self._renew()
        if not self._send(delta, below):
            self._renew()
            self._send(delta, below)

    def _renew(self) -> None:
        self._X = pseudo_inverse(self._W, "").contiguous()
        self._calls = self._corrections = 0

    def _send(self, delta: Tensor, below: Tensor) -> bool:
        """Whether corrections led to enough, or X is new."""
        self._last, before, rate = 0, 1.0, 0.0
        # e = δ X
        torch.mm(delta, self._X, out=below)
        scale = torch.linalg.vector_norm(delta).item()
        while True:
            # e ← e + (δ − e W) X
            torch.addmm(delta, below, self._W, alpha=-1, out=self._missing)
            rho = torch.linalg.vector_norm(self._missing).item() / scale if scale else 1.0
            below.addmm_(self._missing, self._X)
            self._residual = self._residual if self._last else rho
            self._last += 1
            rate = max(rate, rho / before)
            left = further(rho, rate, self._enough) if scale else 0.0
            if left > self._cost and self._calls:
                return False
            if not 0 < left <= self._cost:
                break
            before = rho
        if rho >= 1:
            below.zero_()
        self._calls, self._corrections = self._calls + 1, self._corrections + self._last
        return True


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
