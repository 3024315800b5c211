"""Local learning from spike timing by hand: each layer is taught right behind its forward."""

import math
from typing import Any

import torch
from torch import Tensor

from biograd.bench.by_hand.chain import Chain, Layer


class SpikeTiming:
    r""":math:`\delta_j = -s\, n_g\, \mathrm{softmax}_{k \in g(j)}(\beta z_k)_j\, (r^*_j - \sigma(z_j)) / B`.

    Args:
        chain: the net.
        races: of the hidden layers.
    """

    def __init__(self, chain: Chain, races: list["Race"]) -> None:
        self._chain, self._races = chain, races

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Fill the gradients; the loss."""
        h, last = x.flatten(1), self._chain.layers[-1]
        for race in self._races:
            h = race.teach(h, y)
        loss = self._chain.output_error(h, y)
        last.teach(h)
        return loss


class Race:
    """A hidden layer, whose neurons compete in groups, and what is kept for it.

    Args:
        layer: hidden.
        codes: ``(classes, groups)``; neuron j belongs to group j modulo the number of groups.
        beta: β.
        scale: s.
    """

    def __init__(self, layer: Layer, codes: Tensor, beta: float, scale: float) -> None:
        (batch, neurons), groups = layer.h.shape, codes.shape[1]
        group = torch.arange(neurons, device=codes.device) % groups
        self._layer, self._beta = layer, beta
        self._codes = codes[:, group]  # r* of each neuron at each class, (classes, neurons)
        self._factor = group.bincount()[group].to(codes) * (scale / batch)  # s n_g / B
        # β z, and −∞ at places that a group does not have
        raced = codes.new_full((batch, -(-neurons // groups) * groups), -math.inf)
        self._raced, self._in_groups = raced[:, :neurons], raced.view(batch, -1, groups)
        self._first, self._wanted = torch.empty_like(self._in_groups), torch.empty_like(layer.h)

    def teach(self, h: Tensor, y: Tensor) -> Tensor:
        """Teach the layer by its drive; what it passes on."""
        layer = self._layer
        z = layer.drive(h)
        # softmax of β z in the group
        torch.mul(z, self._beta, out=self._raced)
        torch.softmax(self._in_groups, 1, out=self._first)
        # −(r* − σ(z))
        torch.sigmoid(z, out=layer.signal).sub_(torch.index_select(self._codes, 0, y, out=self._wanted))
        # s n_g / B
        layer.signal.mul_(self._first.flatten(1)[:, : z.shape[1]]).mul_(self._factor)
        layer.learn(h)
        return layer.fire()


def stdp_association(chain: Chain, rule: Any) -> SpikeTiming | None:
    """Codes, β and s as the rule has them; None without competition."""
    if not rule.competition:
        return None
    return SpikeTiming(
        chain,
        [
            Race(layer, rule.codes(place), rule.beta, rule.teaching_scale)
            for place, layer in enumerate(chain.layers[:-1])
        ],
    )
