"""Simplified difference target propagation: the label itself is the first target, and no gradient crosses a layer."""

from typing import ClassVar

from torch import Tensor, nn

from biograd.rules.class_target_rule import ClassTargetRule
from biograd.rules.decoder_rule import DecoderChoice, InverseLoss, Noise, Schedule
from biograd.rules.feedback_weights import Seed
from biograd.settings import checked_settings


class SimplifiedDifferenceTargetPropagation(ClassTargetRule):
    r"""Simplified DTP, :math:`\hat h_{l-1} = h_{l-1} - g_l(h_l) + g_l(\hat h_l)` from the top down.

    The difference rule holds at the last hidden block too: :math:`h_L` are the softmax probabilities of the net's
    output there, :math:`\hat h_L` the label as a distribution (one-hot), and :math:`g_L` a decoder like the
    others. No gradient crosses a layer; the last block learns from the loss. See `DecoderRule` for the losses.
    Defaults are the best settings that the paper prints for the parallel schedule on its fully connected MNIST net;
    for the alternating one ``noise`` is 0.118. Reference: Bartunov et al. 2018.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`. Its output is a value a class.
        sample: one input, batch of one; not needed where the first layer is linear.
        decoder: how decoders are made: ``mirror``, a ``path/to/file.py:Name`` of your own, or in Python a
            function; see `biograd.credit.back.decoders.Decoder`.
        noise: σ of the noise that decoders are taught with; 0 teaches them on the activities alone.
        inverse_loss: what they are taught to give back: the noisy input, or the one without noise.
        schedule: ``parallel`` teaches net and decoders on every batch; ``alternating`` the decoders alone in the
            first, third, … epoch and the net alone in those between. Count both where budgets are compared.
        seed: of the decoders and of the noise.
    """

    family: ClassVar[str] = "target propagation"

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        decoder: DecoderChoice = "mirror",
        noise: Noise = 0.214,
        inverse_loss: InverseLoss = "de-noising",
        schedule: Schedule = "parallel",
        seed: Seed = 0,
    ) -> None:
        super().__init__(
            net,
            sample,
            decoder=decoder,
            noise=noise,
            inverse_loss=inverse_loss,
            schedule=schedule,
            seed=seed,
        )

    def auxiliary_outputs(self, h: Tensor) -> None:
        """None: the last decoder reads class probabilities alone."""
