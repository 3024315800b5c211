"""Forward-forward learning: every block learns to distinguish right labels from wrong ones by its activity."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block, layers_of, spared
from biograd.credit.chain.ledger import Ledger, Root
from biograd.credit.chain.lesson import output_error
from biograd.credit.chain.parameter_hooks import without_parameter_hooks
from biograd.credit.chain.shapes import output_shapes
from biograd.credit.loss_terms import importance, is_ignored, require_honoured, terms_of
from biograd.credit.side_effects import without_side_effects
from biograd.credit.weighting import UNWEIGHTED, Weight, Weighting
from biograd.errors import UnsupportedNet, UserMistake
from biograd.layers.label_places import LabelPlaces
from biograd.layers.length_norm import LengthNorm
from biograd.rules.base import Awaited, Credit, ErrorWeights, Family, Loss
from biograd.rules.blockwise import Blockwise
from biograd.rules.examples import LABELLED, Examples
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.feedback_weights import Seed
from biograd.rules.parts.random_stream import RandomStream
from biograd.searched import LogUniform
from biograd.settings import checked_settings
from biograd.tasks import Kind

Goodness = Literal["sum", "mean"]
Negatives = Literal["hard", "uniform"]

_FLAT = (nn.LayerNorm, nn.RMSNorm)
"""Normalisations behind which all examples are equally good."""


class ForwardForward(Blockwise):
    r"""Forward-forward learning, :math:`p(\text{right}) = \sigma(g_l - \theta)`, g the goodness of block l.

    Goodness is the sum of the squares of the block's activity :math:`h_l`, before it is normalised for the block
    above. Each hidden block runs on every example twice, with its label y and with a wrong one :math:`\bar y`. It
    lowers :math:`-\log p(\text{right})` of the first and :math:`-\log(1 - p(\text{right}))` of the second,

    .. math:: \mathcal{L}_l = \big\langle \log(1 + e^{\theta - g_l(x, y)}) + \log(1 + e^{g_l(x, \bar y) - \theta})
       \big\rangle_\text{batch}

    by its own parameters alone. Nothing crosses between blocks but activity, whose graph is released block by block.
    The last block is a readout: it gives the net's ordinary output, under the neutral label, and learns from the
    derivative of the loss. Hidden blocks receive nothing of it but the wrong labels that it makes likely.
    `Rule.predict` classifies by goodness instead.

    A block may hold any layers, convolutions too. θ is the ``threshold`` times the number of units for the sum, the
    threshold itself for the mean. There is no limit in which the rule is backpropagation.

    Reference: Hinton, *The forward-forward algorithm: some preliminary investigations*, 2022 (arXiv 2212.13345).

    Args:
        net: a chain that begins with `biograd.layers.LabelPlaces` and has a `biograd.layers.LengthNorm` before every
            hidden block but the first, as the net ``ff-mlp`` does; its output is one number a class.
        sample: one input, batch of one; only to check at once that there are as many outputs as places for labels.
        goodness: ``sum`` of the squares of a block's activity, or their ``mean``.
        threshold: of a unit, > 0: the mean square at which an example is as likely right as wrong.
        negatives: how wrong labels are drawn: ``hard``, by the probabilities that the readout gives them, or
            ``uniform``.
        seed: of the wrong labels; with two classes nothing is drawn.

    Raises:
        UnsupportedNet: no places for labels, no normalisation between blocks, no hidden block, or outputs that are
            not one number a class.
        UserMistake: at a batch whose targets are no classes.
    """

    family: ClassVar[Family] = "local"
    scales_with_loss: bool = False
    aims_at_labels: ClassVar[bool] = True
    tasks: ClassVar[tuple[Kind, ...]] = ("classes",)
    error_weights: ClassVar[ErrorWeights] = "none"
    waits_for: ClassVar[Awaited] = "label"
    forward_passes: ClassVar[int] = 3
    needs: ClassVar[str] = "classes; places for labels, normalised lengths between blocks"
    examples: ClassVar[Examples] = replace(
        LABELLED, falls_to={"convolutional": 0.75, "locally-connected": 0.95}
    )

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        goodness: Goodness = "sum",
        threshold: Annotated[float, Gt(0), LogUniform(0.1, 10.0)] = 1.0,
        negatives: Negatives = "hard",
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks)
        self.goodness_of: Goodness = goodness
        self.threshold, self.negatives = threshold, negatives
        self.stream = RandomStream(seed)
        chain = self.chain(net)
        _require_normalised(chain)
        classes = label_places(chain).classes
        if sample is not None:
            _require_outputs(output_shapes(chain, sample)[-1], classes)

    def assign_credit(
        self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss, *, weight: Weight = None
    ) -> Credit:
        """See `Rule.assign_credit`; loss and output are those of the readout."""
        weighting, chain = self.entry.begin(self, net, x, weight), self.chain(net, x)
        _require_normalised(chain)
        classes = label_places(chain).classes
        require_honoured(y, loss_fn)
        _require_classes(y, len(x), classes)
        output = _neutral_output(chain, x)
        _require_outputs(output.shape[1:], classes)
        _refuse_smoothing(loss_fn)
        loss, error, penalty = output_error(output, y, loss_fn)
        self.entry.look(self, output, y, loss_fn)
        of_hidden = weighting.and_also(importance(y, len(x), error.dtype, loss_fn))
        y = _shown(y, loss_fn)
        shown, ledger = torch.cat([y, self.wrong_labels(y, output.detach())]), Ledger(weighting)
        with without_side_effects(layers_of(chain), x.device):
            h = torch.cat([x, x])
            for index, block in enumerate(chain[:-1]):
                h = self._pass(block, h, F.one_hot(shown, classes) if index == 0 else None, of_hidden, ledger)
        ledger.extend([Root(output, error), Root(penalty, torch.ones_like(loss), has_examples=False)])
        ledger.settle()
        return Credit(loss, output.detach())

    def carry_to_input(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Tensor:
        """See `Rule.input_gradient`: the derivative of the first block's own loss."""
        chain = self.chain(net, x)
        classes = label_places(chain).classes
        with torch.no_grad():
            y = _shown(y, loss_fn)
            wrong = self.wrong_labels(y, _neutral_output(chain, x))
        x.requires_grad_()
        h = _run(chain[0], torch.cat([x, x]), F.one_hot(torch.cat([y, wrong]), classes))
        return torch.autograd.grad(self.local_loss(h), x)[0]

    def classify(self, net: nn.Module, x: Tensor) -> Tensor:
        """Goodness of every label, ``(batch, classes)``, summed over all hidden blocks but the first.

        A net with one hidden block has that one's. Differentiable in x; dropout draws what a forward would and
        leaves no trace, nor do running statistics change.
        """
        chain = self.chain(net, x)
        classes = label_places(chain).classes
        with without_side_effects(layers_of(chain), x.device):
            labels = torch.eye(classes, device=x.device)
            found = [self._total_goodness(chain, x, label.expand(len(x), -1)) for label in labels]
        return torch.stack(found, 1)

    def goodness(self, h: Tensor) -> Tensor:
        """g, ``(batch,)``, of a block's activity ``(batch, …)``; summed in float32 at least."""
        # g = Σ_j h_j²
        flat = h.flatten(1)
        squares = (flat if flat.dtype.itemsize >= 4 else flat.float()).square()
        return squares.sum(1) if self.goodness_of == "sum" else squares.mean(1)

    def local_loss(self, h: Tensor, weighting: Weighting = UNWEIGHTED) -> Tensor:
        """A block's own loss, of its activity ``(2 · batch, …)``: first with right labels, then with wrong ones."""
        # ⟨log(1 + e^{θ − g(x, y)}) + log(1 + e^{g(x, ȳ) − θ})⟩
        theta = self.threshold * (h[0].numel() if self.goodness_of == "sum" else 1)
        right, wrong = (self.goodness(h) - theta).chunk(2)
        # log(1 + e^{−a}) is −log σ(a)
        return -weighting.of(F.logsigmoid(right) + F.logsigmoid(-wrong)).mean()

    def wrong_labels(self, y: Tensor, output: Tensor) -> Tensor:
        """A class that is not the right one for every example, ``(batch,)``.

        Args:
            y: the right ones.
            output: of the readout, ``(batch, classes)``.
        """
        if output.shape[1] == 2:
            return 1 - y
        # ȳ is drawn by the readout's probabilities, or alike, among all classes but y
        logits = output.float() if self.negatives == "hard" else torch.zeros_like(output, dtype=torch.float32)
        wrong = logits.scatter(1, y[:, None], -torch.inf).softmax(1)
        return _drawn(wrong, self.stream.next(output.device))

    def _pass(
        self, block: Block, h: Tensor, labels: Tensor | None, weighting: Weighting, ledger: Ledger
    ) -> Tensor:
        """A block's activity, first with right labels, then with wrong ones; its gradients go into the ledger."""
        parameters = [p for p in block.parameters() if p.requires_grad]
        with torch.set_grad_enabled(bool(parameters)):
            h = _run(block, h, labels)
            if not parameters:
                return h
            loss = self.local_loss(h, weighting)
        with without_parameter_hooks(parameters):
            ledger.add_gradients(parameters, torch.autograd.grad(loss, parameters, allow_unused=True))
        return h.detach()

    def _total_goodness(self, chain: list[Block], x: Tensor, labels: Tensor) -> Tensor:
        total: Tensor | None = None
        for index, block in enumerate(chain[:-1]):
            x = _run(block, x, labels if index == 0 else None)
            if index > 0 or len(chain) == 2:
                total = self.goodness(x) if total is None else total + self.goodness(x)
        assert total is not None
        return total


def _drawn(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """A class for every row, as `torch.multinomial` draws it, which would wait for a GPU and refuse NaN.

    A run whose outputs are no numbers any more has diverged, and the training loop records that.
    """
    waits = torch.empty_like(probabilities).exponential_(generator=generator)
    return (probabilities / waits).argmax(1)


def label_places(chain: list[Block]) -> LabelPlaces:
    """Where a chain holds labels.

    Raises:
        UnsupportedNet: nowhere before its first weights, or in several layers.
    """
    found = [layer for layer in chain[0].leading if isinstance(layer, LabelPlaces)]
    if len(found) != 1:
        raise UnsupportedNet(
            f"forward-forward shows the net labels in its input, and needs one biograd.layers.LabelPlaces before "
            f"{chain[0].name!r}; the net has {len(found)}: take the net ff-mlp, or put it there"
        )
    return found[0]


def _require_normalised(chain: list[Block]) -> None:
    if len(chain) < 2:
        raise UnsupportedNet("forward-forward teaches hidden blocks, and the net has none: give it one")
    for block in chain[1:-1]:
        if not any(isinstance(layer, LengthNorm) for layer in block.leading):
            raise UnsupportedNet(
                f"{block.name!r} would read the goodness of the block below it off the length of its input: put "
                "biograd.layers.LengthNorm() before it, as the net ff-mlp does"
            )
    for block in chain[:-1]:
        if any(isinstance(layer, _FLAT) for layer in block.firing):
            raise UnsupportedNet(
                f"the normalisation behind {block.name!r} makes all examples equally good: put "
                "biograd.layers.LengthNorm() in its place, which belongs to the block after it"
            )


def _require_outputs(shape: torch.Size, classes: int) -> None:
    if tuple(shape) != (classes,) or classes < 2:
        raise UnsupportedNet(
            f"forward-forward needs one output a class, two at least, and a place for each label; the net gives "
            f"{tuple(shape)} for an example and has places for {classes}"
        )


def _require_classes(y: Tensor, batch: int, classes: int) -> None:
    if y.shape != (batch,) or y.is_floating_point() or y.is_complex():
        raise UserMistake(
            f"forward-forward needs class indices ({batch},) below {classes}, and got {tuple(y.shape)} of {y.dtype}: "
            "for other targets use the rule bp or dfa"
        )


def _shown(y: Tensor, loss_fn: Loss) -> Tensor:
    """The labels as int64; those that the loss ignores, whose examples teach nothing, as any class."""
    ignored = is_ignored(y, terms_of(loss_fn))
    return y.long() if ignored is None else y.long().masked_fill(ignored, 0)


def _refuse_smoothing(loss_fn: Loss) -> None:
    if terms_of(loss_fn).label_smoothing:
        raise UserMistake(
            "forward-forward shows the net whole labels and cannot honour 'label_smoothing': leave it out, or use "
            "the rule sdtp"
        )


def _neutral_output(chain: list[Block], x: Tensor) -> Tensor:
    """The net's output, with the graph of its last block alone."""
    *hidden, last = chain
    with torch.no_grad():
        for block in hidden:
            x = block(spared(block, x))
    with torch.enable_grad():
        return last(spared(last, x.detach()))


def _run(block: Block, x: Tensor, labels: Tensor | None) -> Tensor:
    """A block's output, with these labels in place of the neutral one if there are any."""
    x = spared(block, x)
    if labels is None:
        return block(x)
    for layer in block.layers:
        x = layer.write(x, labels) if isinstance(layer, LabelPlaces) else layer(x)
    return x
