"""Decoders of a chain: they send differences down, and learn to invert the blocks."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from biograd.credit.back.decoders import Site, make_decoders, require_fit, sites
from biograd.credit.chain.blocks import Block, layers_of, spared
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson
from biograd.credit.chain.passages import run_detached
from biograd.credit.side_effects import without_side_effects
from biograd.credit.structures import device_of
from biograd.errors import UnsupportedNet
from biograd.rules.parts.chains import suggesting_rules_for_any_net
from biograd.rules.parts.random_stream import RandomStream
from biograd.settings import Meaning

InverseLoss = Annotated[
    Literal["noise-preserving", "de-noising"],
    Meaning("what decoders learn to give back: the noisy input, or the one without noise"),
]
DecoderChoice = Annotated[
    str | Callable,
    Meaning(
        "how decoders are made: ``mirror``, ``transpose``, ``mlp``, a ``path/to/file.py:Name`` of your own, or in "
        "Python a function; see `biograd.credit.back.decoders.Decoder`"
    ),
]
Noise = Annotated[
    float,
    Ge(0),
    Meaning("σ of the noise that decoders learn with; at 0 they learn from the activities alone"),
]
PositiveNoise = Annotated[float, Gt(0), Meaning("σ")]
Regularization = Annotated[float, Ge(0), Meaning("λ")]
Read = Callable[[Tensor, Tensor], Tensor]
"""``(output, input)`` of the last block gives what its decoder reads."""


class Decoders(nn.ModuleList):
    r"""Decoders :math:`g_l` of blocks, in the order of the chain; each a module with weights of its own."""

    @classmethod
    def drawn(cls, places: Sequence[Site], decoder: DecoderChoice, stream: RandomStream) -> "Decoders":
        """Make the decoders of some blocks.

        Args:
            places: the blocks that have one; see `decoder_places`.
            decoder: how they are made: ``mirror``, ``transpose``, another registered name or a
                ``path/to/file.py:Name``, or a function; see `biograd.credit.back.decoders.Decoder`.
            stream: what they are drawn from.

        Raises:
            UnsupportedNet: a block has no decoder of the kind asked for.
        """
        with suggesting_rules_for_any_net():
            return cls(make_decoders(places, decoder, stream.next("cpu").initial_seed()))

    def send_down(self, lesson: Lesson, h: Tensor, target: Tensor) -> list[Tensor]:
        r"""The signals :math:`2 (h_l - \hat h_l) / B` of all hidden blocks, by the difference rule from the top down.

        .. math:: h_{l-1} - \hat h_{l-1} = g_l(h_l) - g_l(\hat h_l)

        Args:
            lesson: a batch of B.
            h: what the last block's decoder reads, :math:`h_L`, ``(batch, …)``.
            target: what it reads in its place for the target, :math:`\hat h_L`.
        """
        return self.send_difference_down(lesson, _difference(self[-1], h, target, lesson.hidden[-1]))

    def send_difference_down(self, lesson: Lesson, first: Tensor) -> list[Tensor]:
        r"""As `send_down`, where ``first``, :math:`h_{L-1} - \hat h_{L-1}` of the last hidden block, is given."""
        found = [first]
        for index in reversed(range(1, len(lesson.hidden))):
            h = lesson.outputs[index].detach()
            # h_{l−1} − ĥ_{l−1} = g_l(h_l) − g_l(ĥ_l)
            found.append(_difference(self[index - 1], h, h - found[-1], lesson.hidden[index - 1]))
        # 2 (h_l − ĥ_l) / B
        return [difference.mul_(2 / lesson.examples) for difference in found[::-1]]

    def reconstruction_losses(self, chain: list[Block], x: Any, read: Read | None = None) -> dict[str, float]:
        """See `biograd.Rule.reconstruction_losses`; ``read`` as for `Reconstruction`."""
        losses = {}
        with without_side_effects([*layers_of(chain), *self], device_of(x)), torch.no_grad():
            outputs = run_detached(chain, x, lambda block: False).outputs
            for index, decoder in enumerate(self, start=1):
                h, z = outputs[index - 1], outputs[index]
                back = decoder(read(z, h) if read and index == len(chain) - 1 else z)
                require_fit(back, h)
                losses[chain[index].name] = relative_error(h, back)
        return losses


class Reconstruction(nn.Module):
    r"""Teaches decoders to lower :math:`\lVert t - g_l(f_l(\tilde h))\rVert^2`.

    :math:`\tilde h = h_{l-1} + \epsilon`, :math:`\epsilon \sim N(0, \sigma^2)`; t is :math:`\tilde h`
    (noise-preserving) or :math:`h_{l-1}` (de-noising). The loss is summed over units and averaged over the batch. For
    f(h̃) layers with dropout or batch statistics run as in the forward pass, but buffers and global random numbers
    stay as that left them.

    Args:
        noise: σ, ≥ 0; at 0 decoders learn from the activities alone.
        inverse_loss: which t.
        stream: what the noise is drawn from.
    """

    def __init__(self, noise: float, inverse_loss: InverseLoss, stream: RandomStream) -> None:
        super().__init__()
        self._noise, self._preserves_noise, self._stream = noise, inverse_loss == "noise-preserving", stream

    def lessons(self, decoders: Decoders, lesson: Lesson, read: Read | None = None) -> Iterator[Root]:
        """What every decoder makes of a noisy input's output, and the derivative of its loss by it.

        Args:
            decoders: of the blocks from the second one on.
            lesson: a batch.
            read: see `Read`; the last block's decoder reads its output unless given.
        """
        given, wanted = self._noisy_outputs(decoders, lesson, read)
        with torch.enable_grad():
            recovered = [g(z) for g, z in zip(decoders, given, strict=True)]  # g(f(h̃))
        for back, t in zip(recovered, wanted, strict=True):
            require_fit(back, t)
            yield Root(back, (back.detach() - t).mul_(2 / lesson.examples))  # 2 (g(f(h̃)) − t) / B

    def noisy(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        r""":math:`\tilde h = h + \epsilon` for every input of a batch, all noise from one draw."""
        noise = self._stream.normal_like(inputs, self._noise, as_in_memory=True)
        return [h + e for h, e in zip(inputs, noise, strict=True)]

    @torch.no_grad()
    def _noisy_outputs(
        self, decoders: Decoders, lesson: Lesson, read: Read | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What decoders read when their blocks' inputs are h̃, and t."""
        inverted = list(itertools.islice(enumerate(lesson.chain), 1, len(decoders) + 1))
        inputs = [lesson.outputs[index - 1].detach() for index, _ in inverted]
        if not self._noise or not inverted:
            outputs = [lesson.outputs[index].detach() for index, _ in inverted]
            return self._read(outputs, inputs, lesson, read), inputs
        noisy = self.noisy(inputs)
        with without_side_effects(layers_of(block for _, block in inverted), device_of(lesson.x)):
            outputs = [block(spared(block, h)) for (_, block), h in zip(inverted, noisy, strict=True)]
            return self._read(outputs, noisy, lesson, read), noisy if self._preserves_noise else inputs

    def _read(
        self, outputs: list[Tensor], inputs: list[Tensor], lesson: Lesson, read: Read | None
    ) -> list[Tensor]:
        if read is None or len(outputs) < len(lesson.chain) - 1:
            return outputs
        return [*outputs[:-1], read(outputs[-1], inputs[-1])]


def _difference(decoder: nn.Module, h: Tensor, target: Tensor, below: Tensor) -> Tensor:
    r""":math:`g(h) - g(\hat h)`: how far the block below, which gave ``below``, is from its target."""
    # joined maps would be copied into another layout; joined vectors need one call in place of two
    if h.dim() > 2:
        back, aim = decoder(h), decoder(target)
    else:
        both = decoder(torch.cat([h, target]))
        back, aim = both[: len(h)], both[len(h) :]
    require_fit(back, below)
    return back - aim


def decoder_places(chain: list[Block], sample: Any, auxiliary: int = 0) -> list[Site]:
    """The blocks of a net from the second one on.

    Args:
        chain: its blocks, two or more.
        sample: one input, batch of one; not needed where the first layer is linear.
        auxiliary: how many numbers the last block's decoder gets beside the net's outputs.

    Raises:
        UnsupportedNet: no chain of two blocks, or auxiliary outputs beside something else than a vector.
    """
    require_hidden_block(chain)
    *rest, last = sites(chain, sample)
    if auxiliary and len(last.shapes[-1]) != 1:
        raise UnsupportedNet(
            f"the net gives {tuple(last.shapes[-1])} for an example, and auxiliary outputs go beside a plain vector of "
            "classes: end the net in pooling or nn.Flatten, or use the rule sdtp"
        )
    return [*rest, replace(last, auxiliary=auxiliary)]


def require_hidden_block(chain: Sequence[Block]) -> None:
    """Refuse a chain of one block.

    Raises:
        UnsupportedNet: it has no hidden one.
    """
    if len(chain) < 2:
        raise UnsupportedNet(
            f"the net has one block, {chain[0].name!r}, and no hidden one to set a target for: add a hidden layer, or "
            "use the rule bp"
        )


def relative_error(h: Tensor, back: Tensor) -> float:
    r""":math:`\sum\lVert h - back\rVert^2 / \sum\lVert h\rVert^2`, nan where h is all zero."""
    error, length = (h - back).square().sum().item(), h.square().sum().item()
    return error / length if length else math.nan
