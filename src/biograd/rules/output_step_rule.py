"""Rules whose first target is a step of the net's output against the gradient of the loss."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.rules.block_rule import Lesson
from biograd.rules.decoder_rule import DecoderChoice, DecoderRule, Schedule

Step = Literal["sum", "mean"]
Alpha = Annotated[float, Gt(0)]
PositiveNoise = Annotated[float, Gt(0)]


class OutputStepRule(DecoderRule):
    r"""The difference rule from the output down, :math:`\hat h_L = h_L - \alpha\,\partial\mathcal{L}/\partial h_L`.

    The last block has a decoder too. It learns from the loss of the task: its own local loss,
    :math:`\lVert h_L - \hat h_L\rVert^2`, has the same gradient :math:`2\alpha` times as long.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        alpha: α.
        step: whether the gradient is each example's own (``sum``) or that of the mean over the batch (``mean``).
        decoder: as in `DecoderRule`.
        noise: σ.
        schedule: as in `DecoderRule`.
        seed: of the decoders and of the noise.
    """

    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None,
        *,
        alpha: float,
        step: Step,
        decoder: DecoderChoice,
        noise: float,
        schedule: Schedule,
        seed: int,
    ) -> None:
        super().__init__(
            net,
            sample,
            decoder=decoder,
            noise=noise,
            inverse_loss="noise-preserving",
            schedule=schedule,
            seed=seed,
            inverts_output=True,
        )
        self._alpha, self._sums = alpha, step == "sum"

    def output_difference(self, lesson: Lesson) -> Tensor:
        r""":math:`h_L - \hat h_L`, in the shape of the net's output."""
        return lesson.error * (self._alpha * len(lesson.x) if self._sums else self._alpha)

    def penultimate_difference(self, lesson: Lesson) -> Tensor:
        """The difference rule at the last block."""
        output = lesson.outputs[-1].detach()
        return self.difference(len(self.decoders), output, output - self.output_difference(lesson))


def normal_like(tensors: Sequence[Tensor], scale: float, generator: torch.Generator) -> list[Tensor]:
    """Normal noise of standard deviation ``scale`` in the shape of each tensor, all of it from one draw."""
    like = tensors[0]
    sizes = [tensor.numel() for tensor in tensors]
    drawn = torch.randn(sum(sizes), generator=generator, device=like.device, dtype=like.dtype).mul_(scale)
    return [part.view(t.shape) for part, t in zip(drawn.split(sizes), tensors, strict=True)]


def taught(decoder: nn.Module, given: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """What a decoder makes of several batches, one behind the other with its graph, and each of them without."""
    with torch.enable_grad():
        told = decoder(torch.cat([*given]))
    return told, list(told.detach().split([len(batch) for batch in given]))
