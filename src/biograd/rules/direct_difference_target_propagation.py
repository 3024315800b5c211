"""Direct DTP: the output's difference goes straight to every hidden block, through a linear map that learns."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from biograd.credit.back.decoders import Site
from biograd.credit.chain.blocks import layers_of
from biograd.credit.chain.passages import run_detached
from biograd.credit.side_effects import without_side_effects
from biograd.rules.block_rule import Lesson, Root
from biograd.rules.decoder_rule import DecoderChoice, Schedule
from biograd.rules.difference_reconstruction import Regularization, perturbed_outputs
from biograd.rules.feedback_weights import Seed
from biograd.rules.output_step_rule import Alpha, OutputStepRule, PositiveNoise, Step, normal_like, taught
from biograd.settings import checked_settings


class DirectDifferenceTargetPropagation(OutputStepRule):
    r"""Difference target propagation with direct linear feedback (DDTP-linear).

    .. math:: \hat h_l = h_l + Q_l (\hat h_L - h_L)

    from :math:`\hat h_L = h_L - \alpha\,\partial\mathcal{L}/\partial h_L`. Q is a matrix a hidden block, from the net's
    output to all its units, taught by the difference reconstruction loss, with :math:`\bar f_l` for the net from block
    l's output on:

    .. math:: \frac{1}{\sigma^2} \mathbb{E}_\epsilon \lVert Q_l (\bar f_l(h_l + \sigma\epsilon) - h_L)
        - \sigma\epsilon \rVert^2 + \lambda \lVert Q_l \rVert^2

    with normal noise ε, summed over units, averaged over the batch. (The second term is the paper's
    :math:`\lambda\sigma^{-2}\,\mathbb{E} \lVert Q_l \sigma\epsilon_2 \rVert^2`, without its noise.) Where
    :math:`\bar f_l` is linear, its minimum is
    :math:`Q_l = J_{\bar f}^\top (J_{\bar f} J_{\bar f}^\top + \lambda I)^{-1}`, the damped pseudo-inverse of the
    net above, and targets are Gauss-Newton steps of the activities; else Q is one matrix for all examples. Needs
    the net's output for noise in every hidden block, which is (L - 1) L / 2 block runs a batch; targets wait for
    the output alone. ``alpha`` and ``noise`` are those of the authors' configuration for MNIST. Reference: Meulemans,
    Carzaniga, Suykens, Sacramento & Grewe 2020.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        alpha: α.
        step: whether the gradient is each example's own, that of the loss summed over the batch (``sum``), or
            that of the mean over the batch (``mean``), smaller by the batch size, as in the authors' code.
        noise: σ.
        regularization: λ. The authors put a small weight decay of Q in its place.
        schedule: ``parallel`` teaches net and Q on every batch; ``alternating`` Q alone in the first, third, …
            epoch and the net alone in those between. Count both where budgets are compared.
        seed: of Q at the start (Glorot's, normal) and of the noise.

    Attributes:
        decoders: holds each Q, ``(units, outputs)``, in the order of the chain.
    """

    family: ClassVar[str] = "target propagation"

    default_training: ClassVar[Mapping[str, Any]] = {"feedback_optimizer": {"name": "adam", "lr": 3e-3}}

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        alpha: Alpha = 0.0610,
        step: Step = "sum",
        noise: PositiveNoise = 0.0908,
        regularization: Regularization = 0.0,
        schedule: Schedule = "parallel",
        seed: Seed = 0,
    ) -> None:
        super().__init__(
            net, sample, alpha=alpha, step=step, decoder="mirror", noise=noise, schedule=schedule, seed=seed
        )
        self._regularization = regularization

    def _make_decoders(self, places: list[Site], decoder: DecoderChoice) -> nn.ModuleList:
        """A direct map a hidden block; blocks need no mirror."""
        del decoder
        generator = self._stream.next("cpu")
        return nn.ModuleList(DirectMap(place, places[-1], generator) for place in places)

    @torch.no_grad()
    def reconstruction_losses(self, net: nn.Module, x: Tensor) -> dict[str, float]:
        r"""Name of every block but the first to :math:`\sum\lVert h - Q h_L\rVert^2 / \sum\lVert h\rVert^2`.

        h is what the block gets; see `DecoderRule.reconstruction_losses`.
        """
        chain = self.chain(net)
        with without_side_effects(layers_of(chain), x.device):
            *hidden, output = run_detached(chain, x, lambda block: False)
        errors = [_share(h - direct(output), h) for h, direct in zip(hidden, self.decoders, strict=True)]
        return {block.name: error for block, error in zip(chain[1:], errors, strict=True)}

    def _differences(self, lesson: Lesson) -> list[Tensor]:
        r""":math:`h_l - \hat h_l = Q_l (h_L - \hat h_L)` of every hidden block."""
        difference = self.output_difference(lesson)
        return [direct(difference) for direct in self.decoders]

    @torch.no_grad()
    def _reconstructions(self, lesson: Lesson) -> Iterator[Root]:
        """What every Q makes of the difference that noise makes at the output, and every Q for its own size."""
        hidden, output = [h.detach() for h in lesson.hidden], lesson.outputs[-1].detach()
        noise = normal_like(hidden, self._noise, self._stream.next(output.device))
        outputs = perturbed_outputs(lesson, noise)
        scale = 2 / (self._noise**2 * len(output))
        for direct, moved, epsilon in zip(self.decoders, outputs, noise, strict=True):
            told, (back,) = taught(direct, [moved - output])
            yield told, (back - epsilon).mul_(scale)
            if self._regularization:
                Q = direct.get_parameter("Q")
                yield Q, Q * (2 * self._regularization)


def _share(error: Tensor, h: Tensor) -> float:
    length = h.square().sum().item()
    return error.square().sum().item() / length if length else math.nan


class DirectMap(nn.Module):
    """A matrix from all outputs of a net to all units of a block.

    Args:
        place: the block is the one below this.
        top: where the net's output is.
        generator: of its numbers at the start.

    Attributes:
        Q: ``(units, outputs)``.
    """

    def __init__(self, place: Site, top: Site, generator: torch.Generator) -> None:
        super().__init__()
        like = next(top.block.parameters())
        Q = torch.empty(place.wanted.numel(), top.given.numel(), device=generator.device)
        nn.init.xavier_normal_(Q, generator=generator)
        self.Q = nn.Parameter(Q.to(device=like.device, dtype=like.dtype))
        self._units = place.wanted

    def forward(self, difference: Tensor) -> Tensor:
        """``(batch, *units)`` for ``(batch, *outputs)``."""
        return (difference.flatten(1) @ self.Q.t()).unflatten(1, self._units)
