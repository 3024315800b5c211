"""Difference target propagation by hand: differences go down through decoders, which learn from noise."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from biograd.bench.by_hand.chain import NONE, Chain, Layer, nonlinearity
from biograd.bench.by_hand.defaults import defaults
from biograd.rules.parts.random_stream import RandomStream


class Decoder:
    """A decoder g of a layer, and its buffers.

    Args:
        g: its linear layer and nonlinearity.
        inverted: the layer that it inverts.
        batch: examples.

    Attributes:
        g: see above.
        inverted: see above.
        read: what g reads of a noisy input, ``(batch, out)``.
    """

    def __init__(self, g: Layer, inverted: Layer, batch: int) -> None:
        self.g, self.inverted, self._batch = g, inverted, batch
        self.read = inverted.buffer(batch)
        self._read_twice = inverted.h.new_empty(2 * batch, inverted.h.shape[1])
        self._twice = g.buffer(2 * batch)

    def difference(self, h: Tensor, away: Tensor, out: Tensor) -> None:
        """g(h) − g(h − away)."""
        self._read_twice[: self._batch].copy_(h)
        torch.sub(h, away, out=self._read_twice[self._batch :])
        back = self.g.run(self._read_twice, self._twice)
        torch.sub(back[: self._batch], back[self._batch :], out=out)

    def teach(self, z: Tensor, wanted: Tensor) -> None:
        """Gradients of ‖g(z) − wanted‖², summed over units and averaged over the batch."""
        # 2 (g(z) − t) / B
        torch.sub(self.g.forward(z), wanted, out=self.g.signal).mul_(2 / self._batch)
        self.g.teach(z)


class Noise:
    """Normal noise of all inputs of a batch from one draw, as the rule draws it.

    Args:
        stream: the rule's, as it is now.
        sigma: standard deviation.
        like: the inputs.
    """

    def __init__(self, stream: RandomStream, sigma: float, like: Sequence[Tensor]) -> None:
        self._stream, self._sigma = stream, sigma
        sizes = [h.numel() for h in like]
        self._numbers = like[0].new_empty(sum(sizes))
        parts = self._numbers.split(sizes)
        self._noisy = [part.view_as(h) for part, h in zip(parts, like, strict=True)]

    def added(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Each input with its noise, h + ε, in a buffer."""
        device = self._numbers.device
        torch.randn(len(self._numbers), generator=self._stream.next(device), out=self._numbers)
        for noisy, h in zip(self._noisy, inputs, strict=True):
            torch.add(h, noisy, alpha=self._sigma, out=noisy)
        return self._noisy


class TargetPropagation:
    r""":math:`h_{l-1} - \hat h_{l-1} = g_l(h_l) - g_l(\hat h_l)`.

    Args:
        chain: the net.
        decoders: of the layers from the second one on; the last layer may have none.
        noise: what decoders learn with.
        preserves_noise: whether they learn to give back the noise too.
        first: ``first(y)`` puts the difference of the last hidden layer into its ``signal``.
        read: what the last layer's decoder reads of that layer's output.
    """

    def __init__(
        self,
        chain: Chain,
        decoders: list[Decoder],
        noise: Noise,
        preserves_noise: bool,
        first: Callable[[Tensor], object],
        read: Callable[[Tensor], Tensor],
    ) -> None:
        self._chain, self._decoders, self._noise = chain, decoders, noise
        self._preserves_noise, self._first, self._read = preserves_noise, first, read

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Fill the gradients; the loss."""
        *hidden, last = self._chain.layers
        loss = self._chain.error(x, y)
        last.teach(self._chain.inputs(x)[-1])
        self._first(y)
        for place in reversed(range(1, len(hidden))):
            # h_{l−1} − ĥ_{l−1} = g_l(h_l) − g_l(ĥ_l)
            self._decoders[place - 1].difference(
                hidden[place].h, hidden[place].signal, hidden[place - 1].signal
            )
        for layer, given in zip(hidden, self._chain.inputs(x), strict=False):
            # 2 (h_l − ĥ_l) / B
            layer.signal.mul_(2 / self._chain.batch)
            layer.teach(given)
        self._teach_decoders([layer.h for layer in hidden])
        return loss

    def _teach_decoders(self, h: list[Tensor]) -> None:
        inputs = h[: len(self._decoders)]
        noisy = self._noise.added(inputs)
        wanted = noisy if self._preserves_noise else inputs
        for decoder, h_noisy, t in zip(self._decoders, noisy, wanted, strict=True):
            z = decoder.inverted.run(h_noisy, decoder.read)
            decoder.teach(self._read(z) if decoder.inverted is self._chain.layers[-1] else z, t)


def difference_target_propagation(chain: Chain, rule: Any) -> TargetPropagation | None:
    """The first difference is a step against the gradient."""
    decoders, settings = _decoders(chain, rule), defaults(rule)
    if decoders is None:
        return None
    *_, below, last = chain.layers
    alpha = settings["alpha"] * (chain.batch if settings["step"] == "sum" else 1)

    def first(y: Tensor) -> None:
        # α ∂ℒ/∂h_{L−1}
        torch.mm(last.signal, last.W, out=below.signal).mul_(alpha)

    return _propagation(chain, decoders, rule, first, lambda output: output)


def simplified_difference_target_propagation(chain: Chain, rule: Any) -> TargetPropagation | None:
    """The last decoder gives the first difference, of the probabilities and the label."""
    decoders = _decoders(chain, rule)
    if decoders is None:
        return None
    *_, below, last = chain.layers
    p, away = torch.empty_like(last.h), torch.empty_like(last.h)

    def first(y: Tensor) -> None:
        # g_L(p) − g_L(t)
        torch.softmax(last.h, 1, out=p)
        away.copy_(p).scatter_add_(1, y.unsqueeze(1), p.new_full((len(y), 1), -1.0))
        decoders[-1].difference(p, away, below.signal)

    return _propagation(chain, decoders, rule, first, lambda output: output.softmax(1))


def _propagation(
    chain: Chain,
    decoders: list[Decoder],
    rule: nn.Module,
    first: Callable[[Tensor], object],
    read: Callable[[Tensor], Tensor],
) -> TargetPropagation:
    settings = defaults(rule)
    stream = next(module for module in rule.modules() if isinstance(module, RandomStream))
    noise = Noise(
        copy.deepcopy(stream), settings["noise"], [layer.h for layer in chain.layers[: len(decoders)]]
    )
    return TargetPropagation(
        chain, decoders, noise, settings["inverse_loss"] == "noise-preserving", first, read
    )


def _decoders(chain: Chain, rule: Any) -> list[Decoder] | None:
    """Those of the rule; None where there is none, or one is more than a linear layer and a nonlinearity."""
    found = []
    for module, inverted in zip(rule.decoders, chain.layers[1:], strict=False):
        g = _layer_of(module, chain.batch)
        if g is None:
            return None
        found.append(Decoder(g, inverted, chain.batch))
    return found or None


def _layer_of(decoder: nn.Module, batch: int) -> Layer | None:
    linear, *behind = decoder.children()
    if not isinstance(linear, nn.Linear) or linear.bias is None or len(behind) > 1:
        return None
    phi = nonlinearity(behind[0]) if behind else NONE
    return Layer(linear, phi, batch) if phi else None
