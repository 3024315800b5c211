"""Rules that send targets down through decoders, which learn to invert the blocks of a chain."""

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from biograd.credit.back.decoders import Site, make_decoders, sites
from biograd.credit.chain.blocks import Block, blocks, layers_of
from biograd.credit.chain.passages import Passage, run_detached
from biograd.credit.fused import run_fused
from biograd.credit.side_effects import without_side_effects
from biograd.errors import UnsupportedNet
from biograd.rules.base import Loss
from biograd.rules.block_rule import BlockRule, Lesson, Root
from biograd.rules.random_stream import RandomStream

InverseLoss = Literal["noise-preserving", "de-noising"]
Schedule = Literal["parallel", "alternating"]
DecoderChoice = str | Callable
Noise = Annotated[float, Ge(0)]


class DecoderRule(BlockRule):
    r"""Targets :math:`\hat h_l` for the hidden blocks, sent down by the difference rule through decoders g.

    .. math:: \hat h_{l-1} = h_{l-1} - g_l(h_l) + g_l(\hat h_l)

    Block l < L is taught :math:`\lVert f_l(h_{l-1}) - \hat h_l\rVert^2`, the last block the task's loss, and decoder
    l :math:`\lVert t - g_l(f_l(\tilde h))\rVert^2` with :math:`\tilde h = h_{l-1} + \epsilon`,
    :math:`\epsilon \sim N(0, \sigma^2)`, where t is :math:`\tilde h` (noise-preserving) or :math:`h_{l-1}`
    (de-noising). Losses are sums over units and means over the batch. Where f(h̃) is computed, layers with dropout or
    batch statistics run as they do in the forward pass, and leave no trace of it.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        decoder: the name of a way to make decoders, or a `biograd.credit.back.decoders.Decoder`.
        noise: σ.
        inverse_loss: what decoders are taught to give back.
        schedule: ``parallel`` teaches net and decoders on every batch, ``alternating`` the decoders alone in the
            first, third, … epoch and the net alone in those between; see `begin_epoch`.
        seed: of the decoders and of the noise.
        inverts_output: whether the last block has a decoder too.
        auxiliary: how many numbers that decoder gets beside the net's outputs.

    Attributes:
        penultimate: shape of the last hidden block's output for one example.
        decoders: of the blocks from the second one up, in the order of the chain; their parameters are learned.

    Raises:
        UnsupportedNet: no chain of two blocks, or a block that has no decoder of the kind asked for.
    """

    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None,
        *,
        decoder: DecoderChoice,
        noise: float,
        inverse_loss: InverseLoss,
        schedule: Schedule,
        seed: int,
        inverts_output: bool,
        auxiliary: int = 0,
    ) -> None:
        super().__init__(net, sample)
        places = _places(net, sample, auxiliary)
        self.penultimate = places[-1].wanted
        if not inverts_output:
            places.pop()
        self._noise, self._schedule = noise, schedule
        self._preserves_noise = inverse_loss == "noise-preserving"
        self._epoch = 0
        self._stream = RandomStream(seed)
        self.decoders = self._make_decoders(places, decoder)

    def _make_decoders(self, places: list[Site], decoder: DecoderChoice) -> nn.ModuleList:
        """The decoders of these places, in the order of the chain."""
        return make_decoders(places, decoder, self._stream.next("cpu").initial_seed())

    @abstractmethod
    def penultimate_difference(self, lesson: Lesson) -> Tensor:
        r""":math:`h_{L-1} - \hat h_{L-1}` of the last hidden block, ``(batch, …)``.

        Called without recording gradients.
        """

    def read(self, index: int, output: Tensor, x: Tensor) -> Tensor:
        """What the decoder of block ``index`` gets where the block made ``output`` of ``x``: the output itself."""
        del index, x
        return output

    def begin_epoch(self, epoch: int) -> None:
        """In an alternating schedule, take turns: epochs 0, 2, … teach the decoders, those between the net.

        An epoch is one pass over the data, whichever it teaches. A loop written by hand calls this before each.
        """
        self._epoch = epoch

    @property
    def teaches_net(self) -> bool:
        """Whether this epoch teaches the net; without decoders to take turns with, every epoch does."""
        return self._schedule == "parallel" or self._epoch % 2 == 1 or not len(self.decoders)

    @property
    def teaches_decoders(self) -> bool:
        """Whether this epoch teaches the decoders."""
        return self._schedule == "parallel" or self._epoch % 2 == 0

    def run(self, chain: list[Block], x: Tensor) -> tuple[list[Tensor], list[Passage]]:
        """See `BlockRule.run`; without any graph where the net is not taught."""
        return self.look(chain, x) if self.teaches_net else (run_detached(chain, x, lambda block: False), [])

    def look(self, chain: list[Block], x: Tensor) -> tuple[list[Tensor], list[Passage]]:
        """Outputs of all blocks with their graphs, and whatever else `penultimate_difference` needs as ``passages``."""
        return run_detached(chain, x, lambda block: True), []

    def teaching_signals(self, lesson: Lesson) -> list[Tensor]:
        r""":math:`2 (h_l - \hat h_l) / B` for every hidden block, the derivative of its local loss."""
        return [difference.mul_(2 / len(lesson.x)) for difference in self._differences(lesson)]

    def roots(self, lesson: Lesson) -> Iterator[Root]:
        """See `BlockRule.roots`; the decoders' reconstructions beside the outputs, each as the epoch has it."""
        if self.teaches_net:
            yield from super().roots(lesson)
        else:
            yield lesson.outputs[-1], None
        if self.teaches_decoders:
            yield from self._reconstructions(lesson)

    def get_extra_state(self) -> Tensor:
        """The epoch, as `begin_epoch` was told it, a scalar int64."""
        return torch.tensor(self._epoch)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from the state of `get_extra_state`."""
        self._epoch = int(state)

    @torch.no_grad()
    def targets(
        self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Name of every hidden block to its output h and target ĥ on a batch, both ``(batch, …)``.

        Nothing is taught, whatever the epoch, and nothing is left behind.
        """
        chain = self.chain(net)
        with without_side_effects([*layers_of(chain), *self.decoders], x.device):
            with torch.enable_grad():
                lesson = Lesson.of(self.look, chain, x, y, loss_fn)
            differences = self._differences(lesson)
        return {
            block.name: (h.detach(), h.detach() - difference)
            for block, h, difference in zip(chain[:-1], lesson.hidden, differences, strict=True)
        }

    @torch.no_grad()
    def reconstruction_losses(self, net: nn.Module, x: Tensor) -> dict[str, float]:
        r"""Name of every block with a decoder to the decoder's relative squared error, without noise.

        :math:`\sum\lVert h_{l-1} - g_l(h_l)\rVert^2 / \sum\lVert h_{l-1}\rVert^2` over the batch, nan where
        :math:`h_{l-1}` is all zero; nothing is left behind.
        """
        chain = self.chain(net)
        losses = {}
        with without_side_effects([*layers_of(chain), *self.decoders], x.device):
            outputs = run_detached(chain, x, lambda block: False)
            for index, decoder in enumerate(self.decoders, start=1):
                h = outputs[index - 1]
                back = decoder(self.read(index, outputs[index], h))
                error, length = (h - back).square().sum().item(), h.square().sum().item()
                losses[chain[index].name] = error / length if length else math.nan
        return losses

    def _differences(self, lesson: Lesson) -> list[Tensor]:
        r""":math:`h_l - \hat h_l` of every hidden block, from the last one down."""
        difference = self.penultimate_difference(lesson)
        found = [difference]
        for index in reversed(range(1, len(lesson.hidden))):
            h = lesson.outputs[index].detach()
            difference = self.difference(index, h, h - difference)
            found.append(difference)
        return found[::-1]

    def difference(self, index: int, h: Tensor, target: Tensor) -> Tensor:
        r""":math:`g(h) - g(\hat h)`: how far the block below is from its own target."""
        decoder = self.decoders[index - 1]
        if h.dim() > 2:  # joining maps would copy them into another layout
            return decoder(h) - decoder(target)
        both = decoder(torch.cat([h, target]))
        return both[: len(h)] - both[len(h) :]

    def _reconstructions(self, lesson: Lesson) -> Iterator[Root]:
        """What every decoder makes of a noisy input's output, and the derivative of its loss by it."""
        read, wanted = self._noisy_outputs(lesson)
        with torch.enable_grad():
            recovered = [decoder(z) for decoder, z in zip(self.decoders, read, strict=True)]
        for back, h in zip(recovered, wanted, strict=True):
            yield back, (back.detach() - h).mul_(2 / len(lesson.x))

    @torch.no_grad()
    def _noisy_outputs(self, lesson: Lesson) -> tuple[list[Tensor], list[Tensor]]:
        """What the decoders get of noisy inputs h̃, and what they are to give back."""
        inverted = list(itertools.islice(enumerate(lesson.chain), 1, len(self.decoders) + 1))
        inputs = [lesson.outputs[index - 1].detach() for index, _ in inverted]
        if not self._noise:
            pairs = zip(inverted, inputs, strict=True)
            return [self.read(i, lesson.outputs[i].detach(), h) for (i, _), h in pairs], inputs
        noisy = self._with_noise(inputs)
        with without_side_effects(layers_of(block for _, block in inverted), lesson.x.device):
            read = [
                self.read(i, run_fused(block, h), h) for (i, block), h in zip(inverted, noisy, strict=True)
            ]
        return read, noisy if self._preserves_noise else inputs

    def _with_noise(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Every tensor plus noise, all of it from one draw."""
        if not inputs:
            return []
        like = inputs[0]
        generator = self._stream.next(like.device)
        count = sum(h.numel() for h in inputs)
        noise = torch.randn(count, generator=generator, device=like.device, dtype=like.dtype).mul_(
            self._noise
        )
        parts = noise.split([h.numel() for h in inputs])
        return [h + _laid_out(part, h) for h, part in zip(inputs, parts, strict=True)]


def _places(net: nn.Module, sample: Tensor | None, auxiliary: int) -> list[Site]:
    chain = blocks(net)
    if len(chain) < 2:
        raise UnsupportedNet(
            f"the net has one block, {chain[0].name!r}, and no hidden one to set a target for: add a hidden layer, or "
            "use the rule bp"
        )
    *rest, last = sites(chain, sample)
    if auxiliary and len(last.given) > 1:
        raise UnsupportedNet(
            f"the net gives {tuple(last.given)} for an example, and auxiliary outputs go beside a plain vector of "
            "classes: end the net in pooling or nn.Flatten, or use the rule sdtp"
        )
    return [*rest, replace(last, auxiliary=auxiliary)]


def _laid_out(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers in the shape of another tensor, in the order that its own have in memory."""
    if like.is_contiguous():
        return numbers.view(like.shape)
    order = sorted(range(like.dim()), key=like.stride, reverse=True)
    return numbers.view([like.shape[d] for d in order]).permute([order.index(d) for d in range(like.dim())])
