"""Difference target propagation: a target by gradient below the output, and by decoders further down."""

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block, spared
from biograd.credit.chain.passages import Passage, run_detached
from biograd.rules.block_rule import Lesson
from biograd.rules.decoder_rule import DecoderChoice, DecoderRule, InverseLoss, Noise, Schedule
from biograd.rules.feedback_weights import Seed
from biograd.settings import checked_settings


class DifferenceTargetPropagation(DecoderRule):
    r"""Difference target propagation, :math:`\hat h_{l-1} = h_{l-1} - g_l(h_l) + g_l(\hat h_l)`.

    The last hidden block's target is a step against the gradient,

    .. math:: \hat h_{L-1} = h_{L-1} - \alpha \, \partial\mathcal{L} / \partial h_{L-1}

    and every block is taught to reach its own; see `DecoderRule` for the losses. With exact inverses on orthogonal
    linear blocks every hidden update is backpropagation's, 2α times as long. Defaults are the best settings that
    the paper prints for the parallel schedule on its fully connected MNIST net; for the alternating one they are
    ``noise`` 0.220 and ``alpha`` 0.232. References: Lee, Zhang, Fischer & Bengio 2015; Bartunov et al. 2018.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        alpha: α.
        step: whether the gradient is each example's own, that of the loss summed over the batch (``sum``), or
            that of the mean over the batch (``mean``), smaller by the batch size. The papers leave it open.
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
        alpha: Annotated[float, Gt(0)] = 0.15,
        step: Literal["sum", "mean"] = "sum",
        decoder: DecoderChoice = "mirror",
        noise: Noise = 0.361,
        inverse_loss: InverseLoss = "noise-preserving",
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
            inverts_output=False,
        )
        self._alpha, self._sums = alpha, step == "sum"

    def look(self, chain: list[Block], x: Tensor) -> tuple[list[Tensor], list[Passage]]:
        """See `DecoderRule.look`; the one passage is the last block's, as a whole."""
        hidden = run_detached(chain[:-1], x, lambda block: True)
        entry = hidden[-1].detach().requires_grad_()
        output = chain[-1](spared(chain[-1], entry))
        return [*hidden, output], [Passage(entry, entry, output, output)]

    def penultimate_difference(self, lesson: Lesson) -> Tensor:
        """α times the derivative of the loss by the last hidden block's output."""
        (last,) = lesson.passages
        (gradient,) = torch.autograd.grad(last.output, last.entry, lesson.error, retain_graph=True)
        return gradient * (self._alpha * len(lesson.x) if self._sums else self._alpha)
