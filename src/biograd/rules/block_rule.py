"""Rules that tell each block of a chain a teaching signal, and let nothing else cross between blocks."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block, spared
from biograd.credit.chain.passages import Passage, run_detached, teach
from biograd.credit.graph import leaves_read, nodes_below
from biograd.rules.base import Credit, Loss
from biograd.rules.blockwise import Blockwise

Root = tuple[Tensor, Tensor | None]
"""A tensor that the backward begins at, and the derivative that it is told; None teaches nothing."""

Run = Callable[[list[Block], Tensor], tuple[list[Tensor], list[Passage]]]
"""A chain and a batch to the outputs and passages of all blocks; see `BlockRule.run`."""


@dataclass(frozen=True)
class Lesson:
    """What a batch left in a chain on its way up, for a rule to make teaching signals of.

    Attributes:
        chain: the blocks.
        x: the batch, ``(batch, …)``.
        outputs: what each block gave, ``(batch, …)``, with its own graph, which ends at the block's input.
        passages: a batch's way through each block; empty for rules that do not ask.
        error: derivative of the loss by the last output, in its shape; for the mean over a batch of B
            examples, 1/B of what each example tells its output.
        y: the targets.
        loss: the loss, detached.
        penalty: the loss with its graph where ``loss_fn`` reads parameters too, else None.
    """

    chain: list[Block]
    x: Tensor
    outputs: list[Tensor]
    passages: list[Passage]
    error: Tensor
    y: Tensor
    loss: Tensor
    penalty: Tensor | None

    @classmethod
    def of(cls, run: "Run", chain: list[Block], x: Tensor, y: Tensor, loss_fn: Loss) -> "Lesson":
        """What a batch leaves in a chain that is run in a way of a rule's."""
        outputs, passages = run(chain, x)
        loss, error, penalty = output_error(outputs[-1], y, loss_fn)
        return cls(chain, x, outputs, passages, error, y, loss, penalty)

    @property
    def hidden(self) -> list[Tensor]:
        """The outputs of all blocks but the last."""
        return self.outputs[:-1]


class BlockRule(Blockwise):
    r"""One teaching signal a block: :math:`s_l` at the output :math:`h_l` of every hidden block l.

    Autograd supplies what lies inside a block, so that :math:`\delta_l = s_l \circ \varphi'(a_l)`. The last block
    is told the exact derivative of the loss. All blocks run on detached inputs and learn in one backward.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.
        sample: one input, for rules that need the shapes of the blocks' outputs.

    Raises:
        UnsupportedNet: the net is no chain.
    """

    @abstractmethod
    def teaching_signals(self, lesson: Lesson) -> Sequence[Tensor | None]:
        """A signal for each hidden block, in the shape of its output; None teaches it nothing.

        Called without recording gradients.
        """

    def roots(self, lesson: Lesson) -> Iterator[Root]:
        """All that the one backward begins at; a rule that learns something of its own adds to it."""
        with torch.no_grad():
            signals = self.teaching_signals(lesson)
        if lesson.penalty is not None:
            yield lesson.penalty, torch.ones_like(lesson.loss)
        yield from zip(lesson.outputs, [*signals, lesson.error], strict=True)

    def run(self, chain: list[Block], x: Tensor) -> tuple[list[Tensor], list[Passage]]:
        """Outputs and, for rules that ask, passages of all blocks; see `Lesson`."""
        return run_detached(chain, x, lambda block: self.teaches_hidden_layers or block is chain[-1]), []

    def assign_credit(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Credit:
        """See `Rule.assign_credit`; what ``loss_fn`` itself makes of parameters (a penalty) keeps its derivative."""
        lesson = Lesson.of(self.run, self.chain(net), x, y, loss_fn)
        teach(*zip(*self.roots(lesson), strict=True))
        return Credit(lesson.loss, lesson.outputs[-1].detach())

    def carry_to_input(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Tensor:
        """See `Rule.input_gradient`: the first block's teaching signal, through the first block."""
        lesson = Lesson.of(self.run, self.chain(net), x, y, loss_fn)
        with torch.no_grad():
            signal, *_ = [*self.teaching_signals(lesson), lesson.error]
        if signal is None:
            return super().carry_to_input(net, x, y, loss_fn)
        first = lesson.chain[0]
        output = first(spared(first, x.requires_grad_()))
        return torch.autograd.grad(output, x, signal)[0]


def output_error(output: Tensor, y: Tensor, loss_fn: Loss) -> tuple[Tensor, Tensor, Tensor | None]:
    """The loss and its derivative by the output, both detached, and the loss with its graph if that reaches further.

    It does where ``loss_fn`` reads parameters too, to penalise weights, say; None where it reads the output alone.

    Args:
        output: the net's output, ``(batch, …)``.
        y: the targets.
        loss_fn: a differentiable scalar loss.
    """
    with torch.enable_grad():
        leaf = output.detach().requires_grad_()
        loss = loss_fn(leaf, y)
        reaches_further = any(read is not leaf for node in nodes_below(loss) for read in leaves_read(node))
        (error,) = torch.autograd.grad(loss, leaf, retain_graph=reaches_further)
    return loss.detach(), error, loss if reaches_further else None
