"""DTP with the difference reconstruction loss: decoders learn to send back what noise does to the output."""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block, layers_of
from biograd.credit.fused import run_fused
from biograd.credit.side_effects import without_side_effects
from biograd.rules.block_rule import Lesson, Root
from biograd.rules.decoder_rule import DecoderChoice, Schedule
from biograd.rules.feedback_weights import Seed
from biograd.rules.output_step_rule import Alpha, OutputStepRule, PositiveNoise, Step, normal_like, taught
from biograd.settings import checked_settings

Regularization = Annotated[float, Ge(0)]


class DifferenceReconstruction(OutputStepRule):
    r"""Difference target propagation, its decoders taught by the difference reconstruction loss (DTPDRL).

    Targets come down from :math:`\hat h_L = h_L - \alpha\,\partial\mathcal{L}/\partial h_L` by
    :math:`\hat h_{l-1} = h_{l-1} + g_l(\hat h_l) - g_l(h_l)`, at the last block too; see `OutputStepRule`. With
    :math:`\bar g_l(t)` for what all decoders above block l make of an output t in this way, and :math:`\bar f_l` for
    the net from block l's output on, the decoder that leads to :math:`h_l`, and no other, is taught

    .. math:: \frac{1}{\sigma^2} \mathbb{E} [
        \lVert \bar g_l(\bar f_l(h_l + \sigma\epsilon)) - (h_l + \sigma\epsilon) \rVert^2
        + \lambda \lVert \bar g_l(h_L + \sigma\epsilon) - h_l \rVert^2 ]

    with normal noise ε of its own at each place, summed over units, averaged over the batch. For small σ it is
    :math:`\lVert J_{\bar g} J_{\bar f} - I \rVert^2 + \lambda \lVert J_{\bar g} \rVert^2`, whose minimum
    :math:`J_{\bar f}^\top (J_{\bar f} J_{\bar f}^\top + \lambda I)^{-1}` makes the targets damped Gauss-Newton steps of
    the activities; a large λ turns them to the gradient. Needs the net's output for noise in every hidden block, which
    is (L - 1) L / 2 block runs a batch. Reference: Meulemans, Carzaniga, Suykens, Sacramento & Grewe 2020.

    The paper's decoders are :math:`\tanh(V h + c)` under hidden layers of tanh; so are those of ``mirror`` there, and
    elsewhere they end in the nonlinearity of the block below. ``alpha`` and ``noise`` are those of the authors'
    configuration for MNIST.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        alpha: α.
        step: whether the gradient is each example's own, that of the loss summed over the batch (``sum``), or
            that of the mean over the batch (``mean``), smaller by the batch size, as in the authors' code.
        decoder: how decoders are made: ``mirror``, a ``path/to/file.py:Name`` of your own, or in Python a
            function; see `biograd.credit.back.decoders.Decoder`.
        noise: σ.
        regularization: λ; 0 leaves its term out. The authors put a small weight decay of the decoders in its place.
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
        alpha: Alpha = 0.0686,
        step: Step = "sum",
        decoder: DecoderChoice = "mirror",
        noise: PositiveNoise = 0.0569,
        regularization: Regularization = 0.0,
        schedule: Schedule = "parallel",
        seed: Seed = 0,
    ) -> None:
        super().__init__(
            net, sample, alpha=alpha, step=step, decoder=decoder, noise=noise, schedule=schedule, seed=seed
        )
        self._regularization = regularization

    @torch.no_grad()
    def _reconstructions(self, lesson: Lesson) -> Iterator[Root]:
        """What every decoder makes of its block's output and of what noise makes of it, from the last one down."""
        hidden, h = [h.detach() for h in lesson.hidden], lesson.outputs[-1].detach()
        generator = self._stream.next(h.device)
        noise = normal_like(hidden, self._noise, generator)
        moved = perturbed_outputs(lesson, noise)
        pulled = [h + e for e in normal_like([h], self._noise, generator)] if self._regularization else []
        for below, epsilon, decoder in zip(hidden[::-1], noise[::-1], reversed(self.decoders), strict=True):
            told, (clean, recovered, *kept) = taught(decoder, [h, moved.pop(), *pulled])
            yield told, self._derivative(clean, recovered - epsilon, kept)
            moved = [below + back - clean for back in _sent_down(decoder, moved)]
            pulled = [below + back - clean for back in kept]
            h = below

    def _derivative(self, clean: Tensor, wanted: Tensor, kept: list[Tensor]) -> Tensor:
        """Derivative of a decoder's loss by what it made of the output, of the noisy one and of the pulled one."""
        parts = [wanted - clean, *(self._regularization * (back - clean) for back in kept)]
        both = torch.cat([-torch.stack(parts).sum(0), *parts])
        return both.mul_(2 / (self._noise**2 * len(clean)))


@torch.no_grad()
def perturbed_outputs(lesson: Lesson, noise: Sequence[Tensor]) -> list[Tensor]:
    """The net's output with noise added to the output of one hidden block at a time, in the order of the chain."""
    above = lesson.chain[1:]
    with without_side_effects(layers_of(above), lesson.x.device):
        return [
            _run(above[place:], h.detach() + epsilon)
            for place, (h, epsilon) in enumerate(zip(lesson.hidden, noise, strict=True))
        ]


def _run(chain: Sequence[Block], x: Tensor) -> Tensor:
    for block in chain:
        x = run_fused(block, x)
    return x


def _sent_down(decoder: nn.Module, targets: list[Tensor]) -> Sequence[Tensor]:
    """What a decoder makes of several batches of one size."""
    return decoder(torch.cat(targets)).chunk(len(targets)) if targets else []
