"""Rules that teach each block during the forward pass, from what is at hand there, and then release its activations."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from biograd.credit.by_hand.unit import Trace
from biograd.credit.chain.blocks import Block, run_layers, spared
from biograd.credit.chain.ledger import Ledger, Root
from biograd.credit.chain.lesson import carried_to, output_errors
from biograd.credit.chain.moment import Aim, Moment
from biograd.credit.chain.named_chain import NamedChain
from biograd.credit.chain.parameter_hooks import without_parameter_hooks
from biograd.credit.entry import first_parameter
from biograd.credit.full_precision import full_precision, is_lowered, widened
from biograd.credit.loss_terms import by_example, importance
from biograd.credit.side_effects import RandomState, random_state, without_side_effects
from biograd.credit.structures import (
    as_leaves,
    batch_size,
    called,
    detached,
    require_tensor_from,
)
from biograd.credit.weighting import Weight, Weighting
from biograd.credit.wrappers import unwrap
from biograd.rules.base import Credit, ErrorWeights, Family, Loss, Nets, Rule, no_path_to_input
from biograd.rules.parts.chains import CutPoints, Inside, blocks_for_a_rule
from biograd.rules.parts.epoch import Together, Turns


class LocalRule(Rule):
    r"""A signal for the drive :math:`z_l` of each hidden block, as soon as that is computed.

    A block's gradients are computed from its input, its drive and the targets, before the next block runs. Its
    activations are then released, so that their memory does not grow with depth. The last block receives the exact
    derivative of the loss. Normalisations behind a nonlinearity keep their scale and shift.

    A rule defines `drive_signal` and `block_gradients`.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`; or any net at named cut points.
        sample: one input, batch of one; needed where cut points are named, and there any structure of tensors.
        inside: ``exact`` where hidden blocks may have several weight layers.
        blocks: the cut points; see `biograd.credit.chain.cut_points.named_modules`.
        turns: what each epoch teaches; everything unless given.

    Raises:
        UnsupportedNet: the net is no chain and cannot be cut where the user says, or backpropagation would hide inside
            a block of a chain.
    """

    family: ClassVar[Family] = "local"
    error_weights: ClassVar[ErrorWeights] = "none"
    nets: ClassVar[Nets] = "chain"

    takes_differences: ClassVar[bool] = False
    """Whether gradients are made of differences between nearly equal numbers. Under autocast these are taken in
    float32: a block's drive is computed once more without it for the rule. What is passed on is of the run under
    autocast."""

    reads_several_outputs: ClassVar[bool] = False
    """Whether a net at cut points may give several tensors of real numbers: where hidden layers read none of them."""

    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        inside: Inside = None,
        blocks: CutPoints = (),
        turns: Turns | None = None,
    ) -> None:
        super().__init__()
        self._taught = blocks_for_a_rule(
            *(net, sample, inside, blocks, "layer by layer"), several_outputs=self.reads_several_outputs
        )
        self.takes_structures = len(blocks) > 0
        self.turns = Together() if turns is None else turns

    aim: ClassVar[Callable[..., Aim] | None] = None
    """``aim(y, batch, dtype, loss_fn)``: what the loss asks of the examples, where the rule makes a target of the
    labels, or other examples count for it than for the loss. None where the importance that the loss gives is all."""

    @abstractmethod
    def drive_signal(self, moment: Moment) -> Tensor:
        """The derivative at the drive, in its shape; called without recording gradients."""

    @abstractmethod
    def block_gradients(self, moment: Moment, parameters: list[nn.Parameter]) -> Sequence[Tensor | None]:
        """Gradients of some parameters of a hidden block, each in its parameter's shape; None for none.

        Called without recording gradients.

        `biograd.credit.chain.moment.gradients_of_drive` gives those that autograd computes from `drive_signal`, scaled
        by the weighting of the moment; a rule that computes them otherwise scales them itself.
        """

    def assign_credit(
        self, net: nn.Module, x: Any, y: Any, loss_fn: Loss, *, weight: Weight = None
    ) -> Credit:
        """See `Rule.assign_credit`; what ``loss_fn`` itself makes of parameters (a penalty) keeps its derivative."""
        weighting = self.entry.begin(self, net, x, weight)
        chain, ledger = self.chain(net, x), Ledger(weighting)
        aim = self._aim(net, x, y, loss_fn)
        weighting = weighting.and_also(aim.importance)
        if isinstance(chain, NamedChain):
            output, trace = self._output_at_cut_points(chain, x, aim, weighting, ledger), None
        else:
            output, trace = self._output(chain, x, aim, weighting, ledger)
        loss, read, penalty = output_errors(output, y, loss_fn)
        self.entry.look(self, output, y, loss_fn)
        with torch.no_grad():
            ledger.extend(Root(*pair, trace=trace) for pair in read)
        if penalty is not None:
            ledger.add(penalty, torch.ones_like(loss), has_examples=False)
        ledger.settle()
        return Credit(loss, detached(output))

    def carry_to_input(self, net: nn.Module, x: Any, y: Any, loss_fn: Loss) -> Any:
        """See `Rule.input_gradient`: what the first block's drive receives, through the layers that make it.

        At cut points it comes through all layers that read the input.

        A net of one block has no other signal than the derivative of the loss. Where hidden layers wait for nothing,
        none of the loss goes on to the input.
        """
        first, *others = chain = self.chain(net, x)
        as_leaves(x)
        if not others:
            loss = loss_fn(called(net, spared(first, x)), y)
            return carried_to(x, [(loss, torch.ones_like(loss))])
        if self.waits_for == "nothing":
            raise no_path_to_input(self)
        aim, signals = self._aim(net, x, y, loss_fn), dict[Tensor, Tensor]()

        @torch.no_grad()
        def told(index: int, h: Tensor, drive: Tensor) -> None:
            signals[drive] = self.drive_signal(Moment(index, chain[index], h, drive, aim))

        if isinstance(chain, NamedChain):
            chain.run_layer_by_layer(x, told, from_input=True)
        else:
            h = run_layers(first.leading, spared(first, x))
            told(0, h, run_layers(first.driving[len(first.leading) :], h))
        return carried_to(x, signals.items())

    def _aim(self, net: nn.Module, x: Any, y: Any, loss_fn: Loss) -> Aim:
        first = first_parameter(net)
        assert first is not None
        dtype, batch = first.dtype, batch_size(x) or batch_size(y) or 0
        if self.aim is not None:
            return self.aim(y, batch, dtype, loss_fn)
        v = importance(y, batch, dtype, loss_fn)
        return Aim(y, importance=by_example(v, loss_fn))

    def _output(
        self, chain: list[Block], x: Tensor, aim: Aim, weighting: Weighting, ledger: Ledger
    ) -> tuple[Tensor, Trace | None]:
        """The net's output, and what teaches the last block where that is done by hand.

        Gradients of hidden blocks are in the ledger, and their graphs are let go of.
        """
        (*hidden, last), x = chain, x.detach()
        taught = ledger if self.turns.hidden else None
        with torch.no_grad():
            for index, block in enumerate(hidden):
                unit = block.by_hand(x)
                if unit is None:
                    x = self._passed(index, block, x, aim, weighting, taught)
                else:
                    x = self._passed_by_hand(Moment.of(index, block, unit.driven(x), aim, weighting), taught)
            if (unit := last.by_hand(x)) is not None:
                trace = unit.run(x)
                return trace.output, trace if self.turns.output else None
        with torch.set_grad_enabled(self.turns.output):
            return last(spared(last, x)), None

    def _passed_by_hand(self, moment: Moment, ledger: Ledger | None) -> Tensor:
        """As `_passed`, of a block whose derivatives are known: its output takes the drive's memory."""
        assert moment.trace is not None
        parameters = [parameter for parameter in moment.trace.unit.parameters if parameter.requires_grad]
        if ledger is not None and parameters:
            with without_parameter_hooks(parameters):
                ledger.add_gradients(parameters, self.block_gradients(moment, parameters))
        return moment.trace.fired()

    def _passed(
        self, index: int, block: Block, x: Tensor, aim: Aim, weighting: Weighting, ledger: Ledger | None
    ) -> Tensor:
        """The output of a block, whose gradients are in the ledger by then; none of its graph outlives the call."""
        start = self._start(block, x)
        h, drive, parameters = _arrived(block, x, learns=ledger is not None)
        if ledger is not None:
            self._teach(Moment(index, block, h, drive, aim, weighting), parameters, ledger, x, start)
        output = run_layers(block.firing, drive.detach())
        require_tensor_from(f"the block {block.name!r}", output)
        return output

    def _output_at_cut_points(
        self, chain: NamedChain, x: Any, aim: Aim, weighting: Weighting, ledger: Ledger
    ) -> Any:
        """As `_output`, of a net whose layers with weights are blocks; what lies between them does not learn."""

        def taught(index: int, h: Tensor, drive: Tensor) -> None:
            parameters = [p for p in chain[index].parameters() if p.requires_grad]
            moment = Moment(index, chain[index], h, drive, aim, weighting)
            self._teach(moment, parameters, ledger, h, self._start(chain[index], h))

        output = chain.run_layer_by_layer(x, taught if self.turns.hidden else None)
        return output if self.turns.output else detached(output)

    def _start(self, block: Block, x: Tensor) -> RandomState | None:
        """Where the generators stand before a block runs that has to run once more in full precision."""
        return random_state(x.device) if self.takes_differences and is_lowered([block]) else None

    def _teach(
        self,
        moment: Moment,
        parameters: list[nn.Parameter],
        ledger: Ledger,
        x: Tensor,
        start: RandomState | None,
    ) -> None:
        """Put the gradients of some parameters of a block into the ledger; ``x`` and ``start`` as for `_in_full`."""
        if parameters:
            no_hooks = without_parameter_hooks(parameters)
            with torch.no_grad(), _in_full(moment, x, start) as precise, no_hooks:
                ledger.add_gradients(parameters, self.block_gradients(precise, parameters))

    def untaught(self, net: nn.Module, x: Any) -> set[str]:
        """See `Rule.untaught`: what lies behind the drive of a hidden block, and at cut points between the blocks."""
        *hidden, last = self.chain(net, x)
        taught = {*last.parameters(), *(p for block in hidden for p in _of_drive(block))}
        return {name for name, parameter in unwrap(net).named_parameters() if parameter not in taught}

    def chain(self, net: nn.Module, x: Any = None) -> list[Block]:
        """The blocks of a net; where a batch ``x`` is about to run through them, what they do with it is seen to.

        Raises:
            UnsupportedNet: it has other blocks than the net that the rule was made for, or one uses its weight several
                times and may not.
        """
        return self._taught.of(net, x)


def _of_drive(block: Block) -> Iterable[nn.Parameter]:
    """The parameters that make a block's drive."""
    if block.stretch is not None:
        return block.parameters()
    return [parameter for layer in block.driving for parameter in layer.parameters()]


def _arrived(block: Block, x: Tensor, *, learns: bool) -> tuple[Tensor, Tensor, list[nn.Parameter]]:
    """A block's input and drive, and the parameters that made the drive and learn; its graph where any do."""
    layers = block.driving if learns else ()
    parameters = [p for layer in layers for p in layer.parameters() if p.requires_grad]
    with torch.set_grad_enabled(bool(parameters)):
        x = run_layers(block.leading, spared(block, x))
        drive = run_layers(block.driving[len(block.leading) :], x)
    require_tensor_from(f"the layer {block.name!r}", drive)
    return x, drive, parameters


@contextmanager
def _in_full(moment: Moment, x: Tensor, start: RandomState | None) -> Iterator[Moment]:
    """A context without autocast, and the moment as it is there, drawing what it drew; where start is None, as it was.

    Args:
        moment: a block that learns.
        x: what the block ran on.
        start: where the generators stood before it did.
    """
    if start is None:
        yield moment
        return
    with full_precision(x), without_side_effects(moment.block.driving, x.device, start):
        h, drive, _ = _arrived(moment.block, widened(x), learns=True)
        yield replace(moment, input=h, drive=drive)
