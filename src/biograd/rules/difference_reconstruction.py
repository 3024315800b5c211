"""DTP with the difference reconstruction loss: decoders learn to send back what noise does to the output."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from biograd.credit.back.making import OneUnit, made, output_of
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson, perturbed_outputs
from biograd.credit.noise import normal_like
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
        """What every decoder makes of its block's output, with noise and without, from the last decoder down."""
        hidden, h = [h.detach() for h in lesson.hidden], lesson.outputs[-1].detach()
        generator = self._stream.next(h.device)
        # f̄_l(h_l + σε)
        perturbed = perturbed_outputs(lesson, normal_like(hidden, self._noise, generator))
        moved, noise = map(list, zip(*perturbed, strict=True))
        # h_L + σε, where λ > 0
        pulled = [h + e for e in normal_like([h], self._noise, generator)] if self._regularization else []
        for place in reversed(range(len(hidden))):
            below, epsilon = hidden[place], noise.pop()
            g, one = self.decoders[place], self.decoders.units[place]
            together = made(g, one, torch.cat([h, moved.pop(), *pulled]), below)
            clean, recovered, *kept = together.output.detach().split(len(h))
            # ‖ḡ_l(f̄_l(h_l + σε)) − (h_l + σε)‖² + λ ‖ḡ_l(h_L + σε) − h_l‖², over σ², with
            # ḡ_l(t) = h_l + g(t) − g(h) at the decoder that leads to h_l
            yield together.root(self._derivative(clean, recovered - epsilon, kept))
            moved = [below + back - clean for back in _sent_down(g, one, moved)]
            pulled = [below + back - clean for back in kept]
            h = below

    def _derivative(self, clean: Tensor, wanted: Tensor, kept: list[Tensor]) -> Tensor:
        """Derivative of a decoder's loss by what it made of the output, of the noisy one and of h_L + σε."""
        # of ‖g(noisy) − g(h) − σε‖² by g(noisy), and of λ ‖g(h_L + σε) − g(h)‖² by the first g; minus both by g(h)
        parts = [wanted - clean, *(self._regularization * (back - clean) for back in kept)]
        both = torch.cat([-torch.stack(parts).sum(0), *parts])
        return both.mul_(2 / (self._noise**2 * len(clean)))

    def reconstruction_losses(self, net: nn.Module, x: Any) -> dict[str, float]:
        """See `biograd.Rule.reconstruction_losses`."""
        return self.decoders.reconstruction_losses(self.chain(net), x)


def _sent_down(g: nn.Module, one: OneUnit, targets: list[Tensor]) -> Sequence[Tensor]:
    """What a decoder makes of several batches of one size."""
    return output_of(g, one, torch.cat(targets)).chunk(len(targets)) if targets else []
