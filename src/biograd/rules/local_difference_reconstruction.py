"""DTP with a local difference reconstruction loss: every decoder learns its block's transposed Jacobian."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.back.making import made, made_each
from biograd.credit.chain.blocks import layers_of
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson
from biograd.credit.chain.passages import without_graph
from biograd.credit.noise import generator_behind, normal_like
from biograd.credit.side_effects import without_side_effects
from biograd.credit.structures import device_of
from biograd.rules.base import ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.decoders import (
    DecoderChoice,
    Decoders,
    PositiveNoise,
    decoder_places,
)
from biograd.rules.parts.epoch import Schedule, turns
from biograd.rules.parts.feedback_weights import Seed
from biograd.rules.parts.first_target import Alpha, Step, step_against
from biograd.rules.parts.random_stream import RandomStream
from biograd.searched import LogUniform, Range
from biograd.settings import checked_settings


class LocalDifferenceReconstruction(BlockRule):
    r"""Difference target propagation whose targets are backpropagation's, by a loss that is local to each block.

    Targets come down from :math:`\hat h_L = h_L - \alpha\,\partial\mathcal{L}/\partial h_L` by
    :math:`\hat h_{l-1} = h_{l-1} + G_l(\hat h_l) - G_l(h_l)`, at the last block too.
    Decoder G of a block F, whose input is x and whose output is y, learns to lower

    .. math:: \mathbb{E} [ -2 \langle \epsilon,\, G(F(x + \epsilon)) - G(F(x)) \rangle
        + \lVert G(y + \eta) - G(y) \rVert^2 ]

    with normal noise ε and η of the standard deviations :math:`\sigma_\epsilon` and :math:`\sigma_\eta`,
    summed over units, averaged over the batch and ``noise_samples`` draws. For small noise it is
    :math:`\sigma_\eta^2 \lVert J_G - (\sigma_\epsilon/\sigma_\eta)^2 J_F^\top \rVert^2` plus a constant. With equal
    variances :math:`J_G` tends to :math:`J_F^\top`, and for a small α every hidden update to :math:`2\alpha` times
    backpropagation's. ``step`` = ``sum`` is that of the authors' code. Reference: Ernoult et al. 2022.

    The paper takes 20 to 55 optimiser steps of each decoder on every batch, with fresh noise for each and a learning
    rate and σ for each block. Here decoders take one step on every batch; more ``noise_samples`` lessen its noise, but
    make it no longer.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        alpha: α; at ½ small differences give backpropagation's updates in norm too.
        decoder: how decoders are made: ``transpose``, with the block's own nonlinearity first, as the authors have
            it (`biograd.credit.back.transpose`), ``mirror``, a ``path/to/file.py:Name`` of your own, or in Python a
            function; see `biograd.credit.back.decoders.Decoder`.
        noise: σ of ε, at the inputs of blocks.
        output_noise: σ of η, at their outputs; that of ε unless given.
        noise_samples: draws of both for every example.
        seed: of the decoders and of the noise.
    """

    family: ClassVar[Family] = "target propagation"
    scales_with_loss: bool = False
    error_weights: ClassVar[ErrorWeights] = "learned"
    forward_passes: ClassVar[int] = 2
    needs: ClassVar[str] = "decoders: mirrored layers, or your own"
    sends_targets: ClassVar[bool] = True
    takes_differences: ClassVar[bool] = True
    default_training: ClassVar[Mapping[str, Any]] = {"feedback_optimizer": {"name": "adam", "lr": 3e-3}}
    searched_training: ClassVar[Mapping[str, Range]] = {"feedback_optimizer.lr": LogUniform(1e-5, 1e-2)}

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        alpha: Annotated[Alpha, LogUniform(0.01, 1.0)] = 0.5,
        step: Step = "sum",
        decoder: DecoderChoice = "transpose",
        noise: Annotated[PositiveNoise, LogUniform(0.01, 0.4)] = 0.1,
        output_noise: PositiveNoise | None = None,
        noise_samples: Annotated[int, Gt(0)] = 1,
        schedule: Schedule = "parallel",
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks, turns=turns(schedule))
        self._stream = RandomStream(seed)
        self._step: Step = step
        self._alpha, self._noise, self._draws = alpha, noise, noise_samples
        self._output_noise = noise if output_noise is None else output_noise
        self.decoders = Decoders.drawn(decoder_places(self.chain(net), sample), decoder, self._stream)

    def teaching_signals(self, lesson: Lesson) -> Iterator[Tensor]:
        r""":math:`2 (h_l - \hat h_l) / B` for every hidden block, the derivative of its local loss."""
        # ĥ_L = h_L − α ∂ℒ/∂h_L
        h_L = lesson.outputs[-1].detach()
        target = h_L - step_against(lesson.error, self._alpha, self._step, lesson.counted)
        # ĥ_{l−1} = h_{l−1} + G_l(ĥ_l) − G_l(h_l), at the last block too
        return self.decoders.send_down(lesson, h_L, target)

    @torch.no_grad()
    def own_lessons(self, lesson: Lesson) -> Iterator[Root]:
        """What every decoder makes of F(x + ε), of y = F(x) and of y + η, one after another."""
        epsilons, etas = self._noises([h.detach() for h in lesson.outputs])
        above = lesson.chain[1:]
        with without_side_effects(layers_of(above), device_of(lesson.x)):
            for place, block in enumerate(above):
                g, one, x = self.decoders[place], self.decoders.units[place], lesson.outputs[place].detach()
                # −2 ⟨ε, G(F(x + ε)) − G(F(x))⟩ + ‖G(y + η) − G(y)‖²
                epsilon = next(epsilons).flatten(0, 1)
                scale = 2 / len(epsilon)
                moved = made(g, one, without_graph(block, self._copied(x) + epsilon), x)
                lessons = [moved.root_at_drive(epsilon * -scale)]
                del moved
                yield lessons.pop()
                y = lesson.outputs[place + 1].detach()
                each = made_each(g, one, [y, self._copied(y) + next(etas).flatten(0, 1)], x)
                lesson.let_go(place)
                del x, y
                clean, noisy = each.outputs
                lessons = each.roots(self._derivatives(clean, noisy, epsilon, scale))
                del each, clean, noisy, epsilon
                while lessons:
                    yield lessons.pop()

    def _noises(self, h: list[Tensor]) -> tuple[Iterator[Tensor], Iterator[Tensor]]:
        """ε at the inputs of all blocks but the first, and η at their outputs, each ``(draws, batch, …)``."""
        copies = [each.expand(self._draws, *each.shape) for each in h]
        inputs, outputs, generator = copies[:-1], copies[1:], self._stream.next(h[-1].device)
        # one draw, first of all ε and then of all η
        behind = generator_behind(inputs, generator)
        return (
            normal_like(inputs, self._noise, generator),
            normal_like(outputs, self._output_noise, behind),
        )

    def _copied(self, h: Tensor) -> Tensor:
        """A batch as often as there are draws."""
        return torch.cat([h] * self._draws) if self._draws > 1 else h

    def _derivatives(self, clean: Tensor, noisy: Tensor, epsilon: Tensor, scale: float) -> list[Tensor]:
        """Derivatives of a decoder's loss by what it made of y, and of y + η."""
        # by G(y + η): 2 (G(y + η) − G(y)); by G(y): minus that, and 2 ε, over all draws
        apart = noisy - self._copied(clean)
        of_clean = (epsilon - apart).unflatten(0, (self._draws, len(clean))).sum(0)
        return [of_clean.mul_(scale), apart.mul_(scale)]

    def reconstruction_losses(self, net: nn.Module, x: Any) -> dict[str, float]:
        """See `biograd.Rule.reconstruction_losses`."""
        return self.decoders.reconstruction_losses(self.chain(net), x)
