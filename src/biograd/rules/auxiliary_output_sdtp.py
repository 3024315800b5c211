"""SDTP with auxiliary outputs: the last decoder reads more of the last hidden block than its class probabilities."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson
from biograd.errors import UnsupportedNet
from biograd.rules.base import ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.examples import CHAINS, Examples
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
from biograd.rules.parts.random_stream import RandomStream
from biograd.searched import LogUniform, Range, Uniform
from biograd.settings import checked_settings
from biograd.tasks import Kind


class AuxiliaryOutputSDTP(BlockRule):
    r"""SDTP with auxiliary outputs z, :math:`\hat h_{L-1} = h_{L-1} - g_L(p, z) + g_L(t, z)`.

    A few class probabilities p hold little about the last hidden block, so that from p alone all examples of a class
    would get similar targets. The last decoder therefore also reads z, ``auxiliary`` numbers that frozen random
    weights A of Glorot's size make of that block's output, :math:`z = \varphi(A h_{L-1})`. Beside the label t it
    reads the same z. The task's loss is on the class outputs alone. Below the last hidden block the rule is ``sdtp``,
    see `SimplifiedDifferenceTargetPropagation`. ``noise`` and the training settings are those of ``sdtp`` too, as the
    paper prints none for this rule. Reference: Bartunov et al. 2018.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`. Its output is a value a class.
        sample: one input, batch of one; not needed where the first layer is linear.
        auxiliary: how many auxiliary outputs; more help, until it levels off. 512 is the paper's, for CIFAR-10.
        auxiliary_activation: φ, ``tanh`` as in hidden blocks or ``linear``; the paper does not say.
        seed: of the decoders, of A and of the noise.

    Attributes:
        A: ``(auxiliary, units)``, fixed; the units are those of the last hidden block, flattened.
    """

    family: ClassVar[Family] = "target propagation"
    scales_with_loss: bool = False
    aims_at_labels: ClassVar[bool] = True
    tasks: ClassVar[tuple[Kind, ...]] = ("classes",)
    error_weights: ClassVar[ErrorWeights] = "learned"
    forward_passes: ClassVar[int] = 2
    needs: ClassVar[str] = "classes; decoders: mirrored layers, or your own"
    sends_targets: ClassVar[bool] = True
    takes_differences: ClassVar[bool] = True
    examples: ClassVar[Examples] = replace(CHAINS, learning_rate=0.003)
    searched_training: ClassVar[Mapping[str, Range]] = {"feedback_optimizer.lr": LogUniform(1e-5, 1e-2)}

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        auxiliary: Annotated[int, Gt(0)] = 512,
        auxiliary_activation: Literal["tanh", "linear"] = "tanh",
        decoder: DecoderChoice = "mirror",
        noise: Annotated[Noise, Uniform(0.01, 0.4)] = 0.214,
        inverse_loss: InverseLoss = "de-noising",
        schedule: Schedule = "parallel",
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks, turns=turns(schedule))
        places, stream = decoder_places(self.chain(net), sample, auxiliary), RandomStream(seed)
        self.decoders = Decoders.drawn(places, decoder, stream)
        self._reconstruction = Reconstruction(noise, inverse_loss, stream)
        self._labels = ClassTargets()
        self._is_linear = auxiliary_activation == "linear"
        A = _glorot(auxiliary, places[-1].wanted.numel(), stream)
        self.register_buffer("A", A.to(next(net.parameters())))
        self.A: Tensor

    def teaching_signals(self, lesson: Lesson) -> Iterator[Tensor]:
        r""":math:`2 (h_l - \hat h_l) / B` for every hidden block, the derivative of its local loss."""
        # h_L = (p, z), the softmax probabilities and the auxiliary outputs; ĥ_L = (t, z), t the label
        output, z = lesson.outputs[-1].detach(), self.auxiliary_outputs(lesson.outputs[-2].detach())
        p, t = output.softmax(1), self._labels.of(lesson)
        # ĥ_{l−1} = h_{l−1} − g_l(h_l) + g_l(ĥ_l), at the last block too
        return self.decoders.send_down(lesson, _beside(p, z), _beside(t, z))

    def auxiliary_outputs(self, h: Tensor) -> Tensor:
        """The auxiliary outputs, ``(batch, auxiliary)``, of the last hidden block's output h, ``(batch, …)``."""
        if h[0].numel() != self.A.shape[1]:
            raise UnsupportedNet(
                f"the last hidden block gives {tuple(h.shape[1:])} for an example, and auxiliary outputs were made for "
                f"{self.A.shape[1]} numbers: make the rule with a sample of this size; for tokens use the rule sdtp"
            )
        # z = φ(A h_{L−1})
        z = F.linear(h.flatten(1), self.A)
        return z if self._is_linear else z.tanh()

    def own_lessons(self, lesson: Lesson) -> Iterator[Root]:
        r"""The lessons of decoders, :math:`\lVert h_{l-1} - g_l(f_l(h_{l-1}+\epsilon))\rVert^2`; the last reads (p, z).

        With ``inverse_loss`` = ``noise-preserving`` they give back :math:`h_{l-1} + \epsilon`.
        """
        if not self.turns.hidden:  # `teaching_signals` has not seen the labels
            self._labels.look(lesson)
        return self._reconstruction.lessons(self.decoders, lesson, self._read)

    def reconstruction_losses(self, net: nn.Module, x: Any) -> dict[str, float]:
        """See `biograd.Rule.reconstruction_losses`."""
        return self.decoders.reconstruction_losses(self.chain(net), x, self._read)

    def _read(self, output: Tensor, h: Tensor) -> Tensor:
        """What the last decoder reads."""
        return _beside(output.softmax(1), self.auxiliary_outputs(h))


def _beside(distribution: Tensor, z: Tensor) -> Tensor:
    """Class probabilities with auxiliary outputs behind them, ``(batch, classes + auxiliary)``."""
    return torch.cat([distribution, z.to(distribution.dtype)], 1)


def _glorot(rows: int, columns: int, stream: RandomStream) -> Tensor:
    """Uniform within √(6 / (rows + columns)), drawn on the CPU so that it is the same whatever the device."""
    bound = math.sqrt(6 / (rows + columns))
    return torch.rand(rows, columns, generator=stream.next("cpu"), device="cpu").mul_(2).sub_(1).mul_(bound)
