"""Rules that give each block of a chain a teaching signal, and let nothing else cross between blocks."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block
from biograd.credit.chain.ledger import Ledger, Root
from biograd.credit.chain.lesson import Lesson, Signals, Way, in_order, plainly, signals_at_input
from biograd.credit.full_precision import widened
from biograd.credit.isolation import isolated
from biograd.credit.structures import detached
from biograd.credit.weighting import Weight
from biograd.errors import UserMistake
from biograd.rules.base import Credit, Loss, Nets, Rule, no_path_to_input
from biograd.rules.parts.chains import CutPoints, Inside, blocks_for_a_rule
from biograd.rules.parts.epoch import Together, Turns


class BlockRule(Rule):
    r"""One teaching signal a block: :math:`s_l` at the output :math:`h_l` of every hidden block l.

    Autograd supplies what lies inside a block, so that :math:`\delta_l = s_l \circ \varphi'(a_l)`. The last block
    receives the exact derivative of the loss. All blocks run on detached inputs and learn in one backward.

    A rule defines `teaching_signals`, and `own_lessons` where it has parameters that learn.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`; or any net at named cut points.
        sample: one input, batch of one; needed where cut points are named, and there any structure of tensors.
        inside: ``exact`` where hidden blocks may have several weight layers.
        blocks: the cut points; see `biograd.credit.chain.cut_points.named_modules`.
        way: how a batch runs up the chain; see `biograd.credit.chain.lesson`. A rule whose parts bring a way of their
            own sets `way` when it has made them.
        turns: what each epoch teaches; everything unless given.

    Raises:
        UnsupportedNet: the net is no chain and cannot be cut where the user says, or backpropagation would hide inside
            a block of a chain.
    """

    nets: ClassVar[Nets] = "chain"

    sends_targets: ClassVar[bool] = False
    """Whether the signals are differences from targets, which diagnostics show."""

    takes_differences: ClassVar[bool] = False
    """Whether signals, or lessons of its own, are made of differences between nearly equal numbers. Under autocast
    these are taken in float32: the batch runs once more without it, and the rule is given what that run left. The net's
    output, and the graphs that teach its weights, are those of the run under autocast."""

    reads_several_outputs: ClassVar[bool] = False
    """Whether a net at cut points may give several tensors of real numbers, which the signals are made of as of one
    vector (`biograd.credit.chain.net_output`); where not, the only one within a structure is the net's output."""

    own_lessons: ClassVar[Callable[..., Iterable[Root]] | None] = None
    """``own_lessons(lesson)``: what the backward begins at for the rule's own parameters, tensors with their
    derivatives. None where nothing of the rule's learns."""

    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        inside: Inside = None,
        blocks: CutPoints = (),
        way: Way = plainly,
        turns: Turns | None = None,
    ) -> None:
        super().__init__()
        reading = "in sequence" if self.sends_targets else "freely"
        self._taught = blocks_for_a_rule(
            *(net, sample, inside, blocks, reading), several_outputs=self.reads_several_outputs
        )
        self.takes_structures = len(blocks) > 0
        self.way = way
        self.turns = Together() if turns is None else turns

    @abstractmethod
    def teaching_signals(self, lesson: Lesson) -> Signals:
        """A signal for each hidden block, in the shape of its output; None teaches it nothing.

        An iterator gives them from the last hidden block down, and each teaches its block before the next one is made.
        Called without recording gradients.
        """

    def assign_credit(
        self, net: nn.Module, x: Any, y: Any, loss_fn: Loss, *, weight: Weight = None
    ) -> Credit:
        """See `Rule.assign_credit`; what ``loss_fn`` itself makes of parameters (a penalty) keeps its derivative."""
        turns = self.turns
        teaches_own = self.own_lessons is not None and turns.own
        ledger = Ledger(self.entry.begin(self, net, x, weight, teaches_own=teaches_own))
        lesson = self._run(net, x, y, loss_fn, record=turns.hidden or turns.output)
        self.entry.look(self, lesson.given, y, loss_fn)
        if lesson.penalty is not None and (turns.hidden or turns.output):
            ledger.add(lesson.penalty, torch.ones_like(lesson.loss), has_examples=False)
        with lesson.precision:
            if turns.hidden:
                with torch.no_grad():
                    ledger.extend(lesson.roots(self.teaching_signals(lesson)), lesson.importance)
            if turns.output:
                ledger.extend(lesson.roots_of_the_last())
            if self.own_lessons is not None and turns.own:
                ledger.extend(self.own_lessons(lesson), lesson.counted)
            ledger.settle()
        return Credit(lesson.loss, detached(lesson.given))

    def carry_to_input(self, net: nn.Module, x: Any, y: Any, loss_fn: Loss) -> Any:
        """See `Rule.input_gradient`: the first block's teaching signal through it, and those of others that read x."""
        lesson = self._run(net, x, y, loss_fn)
        with lesson.precision, torch.no_grad():
            signals = [*in_order(self.teaching_signals(lesson)), lesson.output_error]
        if signals[0] is None:
            raise no_path_to_input(self)
        return signals_at_input(lesson, signals)

    def targets(self, net: nn.Module, x: Any, y: Any, loss_fn: Loss) -> dict[str, tuple[Tensor, Tensor]]:
        r"""See `Rule.targets`: :math:`\hat h = h - \tfrac{B}{2} s` of a batch of B, empty unless `sends_targets`.

        s is the signal of the loss averaged over the batch, with all examples counted alike. So ĥ is the
        target of each example's local loss :math:`\lVert h - \hat h\rVert^2`, whatever small step the rule itself
        takes, and whatever the epoch teaches.
        """
        if not self.sends_targets:
            return {}
        with isolated(net, self, loss_fn, devices_of=x), torch.enable_grad():
            lesson = self._run(net, x, y, loss_fn)
            with lesson.precision, torch.no_grad():
                signals = in_order(self.teaching_signals(lesson))
        found = {}
        for block, h, signal in zip(lesson.chain[:-1], lesson.hidden, signals, strict=True):
            h = widened(h.detach())
            found[block.name] = (h, h if signal is None else h - signal * (lesson.examples / 2))
        return found

    def chain(self, net: nn.Module, x: Any = None) -> list[Block]:
        """The blocks of a net; where a batch ``x`` is about to run through them, what they do with it is seen to.

        Raises:
            UnsupportedNet: it has other blocks than the net that the rule was made for, or one uses its weight several
                times and may not.
        """
        return self._taught.of(net, x)

    def _run(self, net: nn.Module, x: Any, y: Any, loss_fn: Loss, record: bool = True) -> Lesson:
        chain = self.chain(net, x)
        learns = self.teaches_hidden_layers
        lesson = Lesson.of(
            *(chain, x, y, loss_fn, self.way),
            lambda block: record and (learns or block is chain[-1]),
            in_full=self.takes_differences,
        )
        if learns:
            _require_batch(lesson)
        return lesson


def _require_batch(lesson: Lesson) -> None:
    """Refuse one example without its batch dimension, whose features would be taken for examples."""
    for block, h in zip(lesson.chain[:-1], lesson.hidden, strict=True):
        if h.dim() < 2:
            raise UserMistake(
                f"expected a batch (batch, …), but block {block.name!r} gave {tuple(h.shape)}: give the one example a "
                "batch dimension, x[None]"
            )
