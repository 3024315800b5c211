"""Difference target propagation: a target by gradient below the output, and by decoders further down."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson, through_the_last_block
from biograd.rules.base import ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.decoders import (
    DecoderChoice,
    Decoders,
    InverseLoss,
    Noise,
    Reconstruction,
    decoder_places,
)
from biograd.rules.parts.epoch import Schedule, turns
from biograd.rules.parts.feedback_weights import Seed
from biograd.rules.parts.first_target import Alpha, Step, step_against
from biograd.rules.parts.random_stream import RandomStream
from biograd.searched import LogUniform, Range, Uniform
from biograd.settings import checked_settings


class DifferenceTargetPropagation(BlockRule):
    r"""Difference target propagation, :math:`\hat h_{l-1} = h_{l-1} - g_l(h_l) + g_l(\hat h_l)`.

    The last hidden block's target is a step against the gradient,

    .. math:: \hat h_{L-1} = h_{L-1} - \alpha \, \partial\mathcal{L} / \partial h_{L-1}

    which goes through the last block's own weights. Every block learns to reach its target; the decoders' loss is
    `biograd.rules.parts.decoders.Reconstruction`. With exact inverses on orthogonal linear blocks every hidden update
    is backpropagation's, 2α times as long. Defaults are the best settings that the paper prints for the parallel
    schedule on its fully connected MNIST net; for the alternating one they are ``noise`` 0.220 and ``alpha`` 0.232.
    The papers leave ``step`` open. References: Lee, Zhang, Fischer & Bengio 2015; Bartunov et al. 2018.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        seed: of the decoders and of the noise.
    """

    family: ClassVar[Family] = "target propagation"
    scales_with_loss: bool = False
    error_weights: ClassVar[ErrorWeights] = "last layer"
    forward_passes: ClassVar[int] = 2
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
        alpha: Annotated[Alpha, Uniform(0.01, 0.4)] = 0.15,
        step: Step = "sum",
        decoder: DecoderChoice = "mirror",
        noise: Annotated[Noise, Uniform(0.01, 0.4)] = 0.361,
        inverse_loss: InverseLoss = "noise-preserving",
        schedule: Schedule = "parallel",
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks, way=through_the_last_block)
        chain, stream = self.chain(net), RandomStream(seed)
        places = decoder_places(chain, sample)[:-1]
        self.turns = turns(schedule, has_decoders=len(places) > 0)
        self._alpha = alpha
        self._step: Step = step
        self.decoders = Decoders.drawn(places, decoder, stream)
        self._reconstruction = Reconstruction(noise, inverse_loss, stream)

    def teaching_signals(self, lesson: Lesson) -> Iterator[Tensor]:
        r""":math:`2 (h_l - \hat h_l) / B` for every hidden block, the derivative of its local loss."""
        (last,) = lesson.passages
        # ĥ_{L−1} = h_{L−1} − α ∂ℒ/∂h_{L−1}
        first = step_against(last.carried_exactly(lesson.error), self._alpha, self._step, lesson.counted)
        # ĥ_{l−1} = h_{l−1} − g_l(h_l) + g_l(ĥ_l)
        return self.decoders.send_difference_down(lesson, first)

    def own_lessons(self, lesson: Lesson) -> Iterator[Root]:
        r"""The lessons of decoders, :math:`\lVert\tilde h - g_l(f_l(\tilde h))\rVert^2`.

        :math:`\tilde h=h_{l-1}+\epsilon`. With ``inverse_loss`` = ``de-noising`` they give back :math:`h_{l-1}`.
        """
        return self._reconstruction.lessons(self.decoders, lesson)

    def reconstruction_losses(self, net: nn.Module, x: Any) -> dict[str, float]:
        """See `biograd.Rule.reconstruction_losses`."""
        return self.decoders.reconstruction_losses(self.chain(net), x)
