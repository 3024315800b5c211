"""DTP with the difference reconstruction loss: decoders learn to send back what noise does to the output."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from biograd.credit.back.making import made_each
from biograd.credit.chain.blocks import layers_of
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson, perturbed_output
from biograd.credit.noise import normal_like
from biograd.credit.side_effects import without_side_effects
from biograd.credit.structures import device_of
from biograd.rules.base import ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.decoders import (
    DecoderChoice,
    Decoders,
    PositiveNoise,
    Regularization,
    decoder_places,
)
from biograd.rules.parts.epoch import Schedule, turns
from biograd.rules.parts.feedback_weights import Seed
from biograd.rules.parts.first_target import Alpha, Step, step_against
from biograd.rules.parts.random_stream import RandomStream
from biograd.searched import LogUniform, Range
from biograd.settings import checked_settings


class DifferenceReconstruction(BlockRule):
    r"""Difference target propagation, its decoders taught by the difference reconstruction loss (DTPDRL).

    Targets come down from :math:`\hat h_L = h_L - \alpha\,\partial\mathcal{L}/\partial h_L` by
    :math:`\hat h_{l-1} = h_{l-1} + g_l(\hat h_l) - g_l(h_l)`, at the last block too. Let :math:`\bar f_l` be the net
    from block l's output on, and :math:`\bar g_l(t)` what all decoders above block l make of an output t in this way.
    The decoder that leads to :math:`h_l`, and no other, learns to lower

    .. math:: \frac{1}{\sigma^2} \mathbb{E} [
        \lVert \bar g_l(\bar f_l(h_l + \sigma\epsilon)) - (h_l + \sigma\epsilon) \rVert^2
        + \lambda \lVert \bar g_l(h_L + \sigma\epsilon) - h_l \rVert^2 ]

    with standard normal noise ε, another draw at each place. It is summed over units and averaged over the batch. For
    small σ it is :math:`\lVert J_{\bar g} J_{\bar f} - I \rVert^2 + \lambda \lVert J_{\bar g} \rVert^2`. At its
    minimum :math:`J_{\bar f}^\top (J_{\bar f} J_{\bar f}^\top + \lambda I)^{-1}` the targets are damped Gauss-Newton
    steps of the activities; a large λ turns them to the gradient. Noise of every hidden block runs to the output,
    which takes (L - 1) L / 2 block runs a batch. Reference: Meulemans, Carzaniga, Suykens, Sacramento & Grewe 2020.

    The paper's decoders are :math:`\tanh(V h + c)`, since its hidden layers are of tanh. Those of ``mirror`` end in the
    nonlinearity of the block below, which is the same there. ``alpha`` and ``noise`` are those of the authors'
    configuration for MNIST; their ``step`` is ``mean``.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        regularization: λ; 0 leaves its term out. The authors put a small weight decay of the decoders in its place.
        seed: of the decoders and of the noise.
    """

    family: ClassVar[Family] = "target propagation"
    scales_with_loss: bool = False
    error_weights: ClassVar[ErrorWeights] = "learned"
    forward_passes: ClassVar[Literal["depth"]] = "depth"
    needs: ClassVar[str] = "decoders: mirrored layers, or your own"
    sends_targets: ClassVar[bool] = True
    takes_differences: ClassVar[bool] = True
    searched_training: ClassVar[Mapping[str, Range]] = {"feedback_optimizer.lr": LogUniform(1e-5, 1e-2)}

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        alpha: Annotated[Alpha, LogUniform(0.01, 1.0)] = 0.0686,
        step: Step = "sum",
        decoder: DecoderChoice = "mirror",
        noise: Annotated[PositiveNoise, LogUniform(0.01, 0.4)] = 0.0569,
        regularization: Regularization = 0.0,
        schedule: Schedule = "parallel",
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks, turns=turns(schedule))
        self._stream = RandomStream(seed)
        self._step: Step = step
        self._alpha, self._noise, self._regularization = alpha, noise, regularization
        self.decoders = Decoders.drawn(decoder_places(self.chain(net), sample), decoder, self._stream)

    def teaching_signals(self, lesson: Lesson) -> Iterator[Tensor]:
        r""":math:`2 (h_l - \hat h_l) / B` for every hidden block, the derivative of its local loss."""
        # ĥ_L = h_L − α ∂ℒ/∂h_L
        h_L = lesson.outputs[-1].detach()
        target = h_L - step_against(lesson.error, self._alpha, self._step, lesson.counted)
        # ĥ_{l−1} = h_{l−1} + g_l(ĥ_l) − g_l(h_l), at the last block too
        return self.decoders.send_down(lesson, h_L, target)

    @torch.no_grad()
    def own_lessons(self, lesson: Lesson) -> Iterator[Root]:
        """What every decoder makes of its block's output, with noise and without, one after another."""
        h_L, hidden = lesson.outputs[-1].detach(), [h.detach() for h in lesson.hidden]
        generator = self._stream.next(h_L.device)
        noise = normal_like(hidden, self._noise, generator)
        del hidden
        with without_side_effects(layers_of(lesson.chain[1:]), device_of(lesson.x)):
            for place in range(len(self.decoders)):
                epsilon = next(noise)
                # t = ḡ(f̄_l(h_l + σε)), by all decoders above the one that leads to h_l
                t = self.decoders.sent_down(lesson, place + 1, perturbed_output(lesson, place, epsilon))
                # ‖g(t) − g(h) − σε‖² / σ²
                lessons = self._lessons(lesson, place, t, 1.0, epsilon)
                del epsilon, t
                if not self._regularization:
                    lesson.let_go(place)
                while lessons:
                    yield lessons.pop()
        if self._regularization:
            # λ ‖ḡ_l(h_L + σε) − h_l‖² / σ²
            (t,) = [h_L + e for e in normal_like([h_L], self._noise, generator)]
            for place in reversed(range(len(self.decoders))):
                yield from self._lessons(lesson, place, t, self._regularization)
                t = self.decoders.sent_one_down(lesson, place, t)

    def _lessons(
        self, lesson: Lesson, place: int, t: Tensor, weight: float, wanted: Tensor | None = None
    ) -> list[Root]:
        r"""What teaches a decoder by :math:`weight \lVert g(t) - g(h) - wanted\rVert^2 / \sigma^2`, h what it reads."""
        g, one, h = self.decoders[place], self.decoders.units[place], lesson.outputs[place + 1].detach()
        each = made_each(g, one, [h, t], lesson.hidden[place])
        clean, back = each.outputs
        # by g(t), and minus that by g(h)
        apart = back - clean if wanted is None else (back - wanted).sub_(clean)
        apart.mul_(2 * weight / (self._noise**2 * len(apart)))
        return each.roots([-apart, apart])

    def reconstruction_losses(self, net: nn.Module, x: Any) -> dict[str, float]:
        """See `biograd.Rule.reconstruction_losses`."""
        return self.decoders.reconstruction_losses(self.chain(net), x)
