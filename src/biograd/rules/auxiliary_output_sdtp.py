"""SDTP with auxiliary outputs: the last decoder reads more of the last hidden block than its class probabilities."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.fused import fused_linear, fused_tanh
from biograd.rules.class_target_rule import ClassTargetRule
from biograd.rules.decoder_rule import DecoderChoice, InverseLoss, Noise, Schedule
from biograd.rules.feedback_weights import Seed
from biograd.rules.random_stream import RandomStream
from biograd.settings import checked_settings


class AuxiliaryOutputSDTP(ClassTargetRule):
    r"""SDTP with auxiliary outputs z, :math:`\hat h_{L-1} = h_{L-1} - g_L(p, z) + g_L(t, z)`.

    A few class probabilities p say little of the last hidden block, and their decoder can tell little apart. So it
    also reads z, ``auxiliary`` numbers made of that block's output by frozen random weights A of Glorot's size,
    :math:`z = \varphi(A h_{L-1})`; it reads the same z beside the label t. The task's loss is on the class
    outputs alone. Below it is ``sdtp``, see `SimplifiedDifferenceTargetPropagation`; so are ``noise`` and the training
    settings, of which the paper's tables have none for this rule. Reference: Bartunov et al. 2018.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`. Its output is a value a class.
        sample: one input, batch of one; not needed where the first layer is linear.
        auxiliary: how many auxiliary outputs; more help, until it levels off. 512 is the paper's, for CIFAR-10.
        auxiliary_activation: φ, ``tanh`` as in hidden blocks or ``linear``; the paper does not say.
        decoder: how decoders are made: ``mirror``, a ``path/to/file.py:Name`` of your own, or in Python a
            function; see `biograd.credit.back.decoders.Decoder`.
        noise: σ of the noise that decoders are taught with; 0 teaches them on the activities alone.
        inverse_loss: what they are taught to give back: the noisy input, or the one without noise.
        schedule: ``parallel`` teaches net and decoders on every batch; ``alternating`` the decoders alone in the
            first, third, … epoch and the net alone in those between. Count both where budgets are compared.
        seed: of the decoders, of A and of the noise.

    Attributes:
        A: ``(auxiliary, units)``, fixed; the units are those of the last hidden block, flattened.
    """

    family: ClassVar[str] = "target propagation"

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        auxiliary: Annotated[int, Gt(0)] = 512,
        auxiliary_activation: Literal["tanh", "linear"] = "tanh",
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
            auxiliary=auxiliary,
        )
        self._is_linear = auxiliary_activation == "linear"
        A = _glorot(auxiliary, self.penultimate.numel(), self._stream)
        self.register_buffer("A", A.to(next(net.parameters())))
        self.A: Tensor

    def auxiliary_outputs(self, h: Tensor) -> Tensor:
        """φ(A h), ``(batch, auxiliary)``."""
        z = fused_linear(h.flatten(1), self.A)
        return z if self._is_linear else fused_tanh(z)


def _glorot(rows: int, columns: int, stream: RandomStream) -> Tensor:
    """Uniform within √(6 / (rows + columns)), drawn on the CPU so that it is the same whatever the device."""
    bound = math.sqrt(6 / (rows + columns))
    return torch.rand(rows, columns, generator=stream.next("cpu"), device="cpu").mul_(2).sub_(1).mul_(bound)
