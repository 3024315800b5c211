"""Decoders of a chain: they send differences down, and learn to invert the blocks."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from biograd.credit.back.decoders import Site, make_decoders, require_fit, sites
from biograd.credit.back.making import Made, OneUnit, made, output_of
from biograd.credit.chain.blocks import Block, layers_of
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson
from biograd.credit.chain.passages import run_detached, without_graph
from biograd.credit.noise import normal_like
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
    r"""Decoders :math:`g_l` of blocks, in the order of the chain; each a module with weights of its own.

    One that is a layer with weights, and a nonlinearity before or behind it, runs and learns by hand.

    Attributes:
        units: what remembers each as a unit; see `biograd.credit.back.making`.
    """

    def __init__(self, decoders: Iterable[nn.Module]) -> None:
        super().__init__(decoders)
        self.units = [OneUnit() for _ in self]

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

    def send_down(self, lesson: Lesson, h: Tensor, target: Tensor) -> Iterator[Tensor]:
        r"""The signals :math:`2 (h_l - \hat h_l) / B` of all hidden blocks, by the difference rule from the top down.

        .. math:: h_{l-1} - \hat h_{l-1} = g_l(h_l) - g_l(\hat h_l)

        Args:
            lesson: a batch of B.
            h: what the last block's decoder reads, :math:`h_L`, ``(batch, …)``.
            target: what it reads in its place for the target, :math:`\hat h_L`.
        """
        differences = self.send_difference_down(lesson, self._difference(lesson, len(self) - 1, h, target))
        del h, target
        yield from differences

    def send_difference_down(self, lesson: Lesson, first: Tensor) -> Iterator[Tensor]:
        r"""As `send_down`, where ``first``, :math:`h_{L-1} - \hat h_{L-1}` of the last hidden block, is given."""
        hidden, examples, difference = [h.detach() for h in lesson.hidden], lesson.examples, first
        del first
        for place in reversed(range(len(hidden))):
            # 2 (h_l − ĥ_l) / B
            yield difference * (2 / examples)
            if place:
                # h_{l−1} − ĥ_{l−1} = g_l(h_l) − g_l(ĥ_l)
                h = hidden[place]
                difference = self._difference(lesson, place - 1, h, h - difference)

    def sent_down(self, lesson: Lesson, to: int, target: Tensor) -> Tensor:
        r"""A target of the net as one of block ``to``, :math:`\hat h_{l-1} = h_{l-1} + g_l(\hat h_l) - g_l(h_l)`."""
        for place in reversed(range(to, len(self))):
            target = self.sent_one_down(lesson, place, target)
        return target

    def sent_one_down(self, lesson: Lesson, place: int, target: Tensor) -> Tensor:
        """The target of the block at ``place``, for that of the block above."""
        h, below = lesson.outputs[place + 1].detach(), lesson.outputs[place].detach()
        back, aim = self._both(lesson, place, h, target)
        return (below + aim).sub_(back)

    def _difference(self, lesson: Lesson, place: int, h: Tensor, target: Tensor) -> Tensor:
        r""":math:`g(h) - g(\hat h)`: how far the block at ``place``, below the one inverted, is from its target."""
        back, aim = self._both(lesson, place, h, target)
        return back - aim

    def _both(self, lesson: Lesson, place: int, h: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """What a decoder makes of what its block gave, and of its target."""
        # joined maps would be copied into another layout; joined vectors need one call in place of two
        g, one, looked = self[place], self.units[place], lesson.looked
        if h.dim() > 2:
            back, aim = output_of(g, one, h, looked), output_of(g, one, target, looked)
        else:
            back, aim = output_of(g, one, torch.cat([h, target]), looked).chunk(2)
        require_fit(back, lesson.outputs[place])
        return back, aim

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

    @torch.no_grad()
    def lessons(self, decoders: Decoders, lesson: Lesson, read: Read | None = None) -> Iterator[Root]:
        """What every decoder makes of a noisy input's output, and the derivative of its loss by it, one after another.

        Args:
            decoders: of the blocks from the second one on.
            lesson: a batch.
            read: see `Read`; the last block's decoder reads its output unless given.
        """
        h, inverted = [h.detach() for h in lesson.outputs], lesson.chain[1 : len(decoders) + 1]
        examples = lesson.examples
        with without_side_effects(layers_of(inverted), device_of(lesson.x)):
            noise = iter(self.noisy(h[: len(inverted)]))
            for place, block in enumerate(inverted):
                noisy = next(noise)
                z = without_graph(block, noisy) if self._noise else h[place + 1]  # f(h̃)
                if read is not None and block is lesson.chain[-1]:
                    z = read(z, noisy)
                t = noisy if self._preserves_noise else h[place]
                back = made(decoders[place], decoders.units[place], z, t, lesson.looked)
                root = _reconstructed(back, t, examples)
                del noisy, t, z, back  # what the decoder does not learn from
                yield root
                del root

    def noisy(self, inputs: Sequence[Tensor]) -> Iterable[Tensor]:
        r""":math:`\tilde h = h + \epsilon` for every input of a batch, all noise from one draw."""
        if not self._noise or not inputs:
            return inputs
        noise = normal_like(inputs, self._noise, self._stream.next(inputs[0].device), as_in_memory=True)
        return map(Tensor.add_, noise, inputs)


def _reconstructed(back: Made, t: Tensor, examples: int) -> Root:
    # 2 (g(f(h̃)) − t) / B
    return back.root((back.output.detach() - t).mul_(2 / examples))


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
