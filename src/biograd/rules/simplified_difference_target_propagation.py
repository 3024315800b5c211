"""Simplified difference target propagation: the label itself is the first target, and no gradient crosses a layer."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson
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
from biograd.rules.parts.first_target import ClassTargets
from biograd.rules.parts.places import ClassAxis, class_axis
from biograd.rules.parts.random_stream import RandomStream
from biograd.searched import LogUniform, Range, Uniform
from biograd.settings import checked_settings
from biograd.tasks import Kind


class SimplifiedDifferenceTargetPropagation(BlockRule):
    r"""Simplified DTP, :math:`\hat h_{l-1} = h_{l-1} - g_l(h_l) + g_l(\hat h_l)` from the top down.

    The difference rule gives the last hidden block's target too: there :math:`h_L` are the softmax probabilities of
    the net's output, :math:`\hat h_L` is the label as a distribution (one-hot), and :math:`g_L` is a decoder like the
    others. No gradient crosses a layer; the last block learns from the loss. The decoders' loss is
    `biograd.rules.parts.decoders.Reconstruction`. Defaults are the best settings that the paper prints for the
    parallel schedule on its fully connected MNIST net; for the alternating one ``noise`` is 0.118. Reference:
    Bartunov et al. 2018.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`. Its output is a value a class.
        sample: one input, batch of one; not needed where the first layer is linear.
        seed: of the decoders and of the noise.
    """

    family: ClassVar[Family] = "target propagation"
    scales_with_loss: bool = False
    aims_at_labels: ClassVar[bool] = True
    tasks: ClassVar[tuple[Kind, ...]] = ("classes", "tokens")
    error_weights: ClassVar[ErrorWeights] = "learned"
    forward_passes: ClassVar[int] = 2
    needs: ClassVar[str] = "classes; decoders: mirrored layers, or your own"
    sends_targets: ClassVar[bool] = True
    takes_differences: ClassVar[bool] = True
    searched_training: ClassVar[Mapping[str, Range]] = {"feedback_optimizer.lr": LogUniform(1e-5, 1e-2)}

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        decoder: DecoderChoice = "mirror",
        noise: Annotated[Noise, Uniform(0.01, 0.4)] = 0.214,
        inverse_loss: InverseLoss = "de-noising",
        schedule: Schedule = "parallel",
        classes: ClassAxis = None,
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks, turns=turns(schedule))
        places, stream = decoder_places(self.chain(net), sample), RandomStream(seed)
        self.decoders = Decoders.drawn(places, decoder, stream)
        self._reconstruction = Reconstruction(noise, inverse_loss, stream)
        self._labels = ClassTargets(class_axis(places[-1].block, places[-1].shapes[-1], classes))

    def teaching_signals(self, lesson: Lesson) -> Iterator[Tensor]:
        r""":math:`2 (h_l - \hat h_l) / B` for every hidden block, the derivative of its local loss."""
        # h_L = p, the softmax probabilities; ĥ_L = t, the label as a distribution
        p, t = self._labels.beside_probabilities(lesson)
        # ĥ_{l−1} = h_{l−1} − g_l(h_l) + g_l(ĥ_l), at the last block too
        return self.decoders.send_down(lesson, p, t)

    def own_lessons(self, lesson: Lesson) -> Iterator[Root]:
        r"""The lessons of decoders, :math:`\lVert h_{l-1} - g_l(f_l(h_{l-1} + \epsilon))\rVert^2`; the last reads p.

        With ``inverse_loss`` = ``noise-preserving`` they give back :math:`h_{l-1} + \epsilon`.
        """
        if not self.turns.hidden:  # `teaching_signals` has not seen the labels
            self._labels.look(lesson)
        return self._reconstruction.lessons(self.decoders, lesson, self._labels.probabilities)

    def reconstruction_losses(self, net: nn.Module, x: Any) -> dict[str, float]:
        """See `biograd.Rule.reconstruction_losses`."""
        return self.decoders.reconstruction_losses(self.chain(net), x, self._labels.probabilities)
