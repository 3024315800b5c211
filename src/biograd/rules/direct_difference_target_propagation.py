"""Direct DTP: the output's difference goes straight to every hidden block, through a linear map that learns."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from biograd.credit.chain.blocks import layers_of
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson, perturbed_output
from biograd.credit.chain.passages import run_detached
from biograd.credit.chain.shapes import output_shapes
from biograd.credit.chain.ways import Way, way_to
from biograd.credit.noise import normal_like
from biograd.credit.side_effects import without_side_effects
from biograd.credit.structures import device_of
from biograd.rules.base import ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.decoders import (
    PositiveNoise,
    Regularization,
    relative_error,
    require_hidden_block,
)
from biograd.rules.parts.epoch import Schedule, turns
from biograd.rules.parts.feedback_weights import Seed
from biograd.rules.parts.first_target import Alpha, Step, step_against
from biograd.rules.parts.places import Classes, Features, Layout, Places
from biograd.rules.parts.random_stream import RandomStream
from biograd.searched import LogUniform, Range
from biograd.settings import checked_settings


class DirectDifferenceTargetPropagation(BlockRule):
    r"""Difference target propagation with direct linear feedback (DDTP-linear).

    .. math:: \hat h_l = h_l + Q_l (\hat h_L - h_L)

    from :math:`\hat h_L = h_L - \alpha\,\partial\mathcal{L}/\partial h_L`. Every hidden block has a matrix
    :math:`Q_l`, from the net's output to all its units. It learns by the difference reconstruction loss, where
    :math:`\bar f_l` is the net from block l's output on:

    .. math:: \frac{1}{\sigma^2} \mathbb{E}_\epsilon \lVert Q_l (\bar f_l(h_l + \sigma\epsilon) - h_L)
        - \sigma\epsilon \rVert^2 + \lambda \lVert Q_l \rVert^2

    with standard normal noise ε, summed over units and averaged over the batch. (The second term is the paper's
    :math:`\lambda\sigma^{-2}\,\mathbb{E} \lVert Q_l \sigma\epsilon_2 \rVert^2`, without sampling its noise.) Where
    :math:`\bar f_l` is linear, the minimum is
    :math:`Q_l = J_{\bar f}^\top (J_{\bar f} J_{\bar f}^\top + \lambda I)^{-1}`, the damped pseudo-inverse of the net
    above, and targets are Gauss-Newton steps of the activities. Otherwise Q is one matrix for all examples. Noise of
    every hidden block runs to the output, which takes (L - 1) L / 2 block runs a batch; targets wait for the output
    alone. Of tokens one Q serves all, as in `DirectFeedbackAlignment`: each is told of the difference at its own, or of
    the pooled one over √tokens, and Q's loss is averaged over them. ``alpha`` and ``noise`` are those of the authors'
    configuration for MNIST; their ``step`` is ``mean``. Reference: Meulemans, Carzaniga, Suykens, Sacramento & Grewe
    2020.

    Args:
        net: a chain of two blocks or more; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        regularization: λ. The authors put a small weight decay of Q in its place.
        schedule: ``parallel`` teaches net and Q on every batch; ``alternating`` Q alone in the first, third, …
            epoch and the net alone in those between. Count both where budgets are compared.
        seed: of Q at the start (Glorot's, normal) and of the noise.

    Attributes:
        decoders: holds each Q, ``(units, outputs)``, in the order of the chain.
    """

    family: ClassVar[Family] = "target propagation"
    error_weights: ClassVar[ErrorWeights] = "learned"
    forward_passes: ClassVar[Literal["depth"]] = "depth"
    sends_targets: ClassVar[bool] = True
    takes_differences: ClassVar[bool] = True
    default_training: ClassVar[Mapping[str, Any]] = {"feedback_optimizer": {"name": "adam", "lr": 3e-3}}
    searched_training: ClassVar[Mapping[str, Range]] = {"feedback_optimizer.lr": LogUniform(1e-5, 1e-2)}

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        alpha: Annotated[Alpha, LogUniform(0.01, 1.0)] = 0.0610,
        step: Step = "sum",
        noise: Annotated[PositiveNoise, LogUniform(0.01, 0.4)] = 0.0908,
        regularization: Regularization = 0.0,
        schedule: Schedule = "parallel",
        places: Places = None,
        features: Features = (),
        classes: Classes = None,
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks, turns=turns(schedule))
        self._stream = RandomStream(seed)
        self._step: Step = step
        self._alpha, self._noise, self._regularization = alpha, noise, regularization
        chain, layout = self.chain(net), Layout(places=places, features=features, classes=classes)
        require_hidden_block(chain)
        *hidden, output = layout.of(chain, output_shapes(chain, sample))
        like, generator = next(chain[-1].parameters()), self._stream.next("cpu")
        self._ways = [way_to(laid, output, places) for laid in hidden]
        self.decoders = nn.ModuleList(DirectMap(way, like, generator) for way in self._ways)

    def teaching_signals(self, lesson: Lesson) -> Iterator[Tensor]:
        r""":math:`2 (h_l - \hat h_l) / B` for every hidden block, the derivative of its local loss."""
        # h_L − ĥ_L = α ∂ℒ/∂h_L
        difference = step_against(lesson.error, self._alpha, self._step, lesson.counted)
        # h_l − ĥ_l = Q_l (h_L − ĥ_L)
        told = reversed([*zip(self.decoders, lesson.hidden, strict=True)])
        return (direct(difference, h) * (2 / lesson.examples) for direct, h in told)

    @torch.no_grad()
    def own_lessons(self, lesson: Lesson) -> Iterator[Root]:
        """What every Q makes of the difference that noise makes at the output; and Q itself, where λ > 0."""
        hidden, h_L = [h.detach() for h in lesson.hidden], lesson.outputs[-1].detach()
        noise = normal_like(hidden, self._noise, self._stream.next(h_L.device))
        with without_side_effects(layers_of(lesson.chain[1:]), device_of(lesson.x)):
            for place, (direct, way) in enumerate(zip(self.decoders, self._ways, strict=True)):
                # f̄_l(h_l + σε) − h_L, and σε
                epsilon = next(noise)
                moved = perturbed_output(lesson, place, epsilon) - h_L
                # ‖Q_l (f̄_l(h_l + σε) − h_L) − σε‖² / σ²
                with torch.enable_grad():
                    back = direct(moved, epsilon)
                derivative = (back.detach() - epsilon).mul_(2 / (self._noise**2 * way.examples(h_L)))
                root = Root(back, derivative, is_alone=True)
                del epsilon, back, derivative
                yield root
                del root
                if self._regularization:  # λ ‖Q_l‖²
                    Q = direct.get_parameter("Q")
                    yield Root(Q, Q * (2 * self._regularization), has_examples=False)

    @torch.no_grad()
    def reconstruction_losses(self, net: nn.Module, x: Any) -> dict[str, float]:
        r"""Name of every block but the first to :math:`\sum\lVert h - Q h_L\rVert^2 / \sum\lVert h\rVert^2`.

        h is the block's input; see `biograd.Rule.reconstruction_losses`.
        """
        chain = self.chain(net)
        with without_side_effects(layers_of(chain), device_of(x)):
            *hidden, output = run_detached(chain, x, lambda block: False).outputs
        errors = [relative_error(h, Q(output, h)) for h, Q in zip(hidden, self.decoders, strict=True)]
        return {block.name: error for block, error in zip(chain[1:], errors, strict=True)}


class DirectMap(nn.Module):
    """A matrix from the outputs of a net to the units of a block.

    Args:
        way: how it leads there.
        like: a tensor of its dtype and on its device.
        generator: of its numbers at the start.

    Attributes:
        Q: ``(units, outputs)``.
    """

    def __init__(self, way: Way, like: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        Q = torch.empty(way.units, way.outputs, device=generator.device)
        nn.init.xavier_normal_(Q, generator=generator)
        self.Q = nn.Parameter(Q.to(device=like.device, dtype=like.dtype))
        self._way = way

    def forward(self, difference: Tensor, hidden: Tensor) -> Tensor:
        """In the shape of ``hidden``, what the block gives, for a difference in that of the net's output."""
        return self._way(lambda d: d @ self.Q.t(), difference, hidden)
