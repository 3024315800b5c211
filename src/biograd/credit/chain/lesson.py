"""What a batch leaves in a chain on its way up: a rule makes teaching signals of it."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit.by_hand.losses import cross_entropy
from biograd.credit.by_hand.unit import Trace, Unit
from biograd.credit.chain.blocks import Block, layers_of, spared
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.named_chain import NamedChain
from biograd.credit.chain.net_output import NetOutput
from biograd.credit.chain.passage import Passage
from biograd.credit.chain.passages import Run, run_detached, run_into_the_last, run_through, without_graph
from biograd.credit.full_precision import full_precision, is_lowered, widened
from biograd.credit.graph import leaves_read, nodes_below
from biograd.credit.loss_terms import by_example, counted, importance
from biograd.credit.side_effects import RandomState, random_state, without_side_effects
from biograd.credit.structures import (
    as_leaves,
    batch_size,
    device_of,
    gradients_at,
    map_tensors,
    require_tensor_from,
    tensors_in,
)
from biograd.errors import UserMistake

Record = Callable[[Block], bool]
"""Whether a block's graph is wanted."""

Signals = Sequence[Tensor | None] | Iterator[Tensor | None]
"""A signal a hidden block, in the order of the chain; or, where they come one at a time, from the last one down."""

Way = Callable[[list[Block], Any, Record], Run]
"""A way to run a chain."""


@dataclass(frozen=True)
class Lesson:
    """What a batch left in a chain on its way up.

    Attributes:
        chain: the blocks.
        x: the batch, ``(batch, …)``; at named cut points any structure of tensors.
        taught: what each block of the net gave, ``(batch, …)``, with its own graph, which ends at the block's input, or
            without one where there is a trace; of the last the net's output, of several tensors the vector of
            `biograd.credit.chain.net_output.NetOutput`.
        traces: of each block what teaches it by hand, or None.
        given: what the net gave, in its structure.
        outputs: the same; of a second run in full precision where the rule asked for one and autocast lowered the
            first.
        passages: a batch's way through blocks, on the run of ``outputs``; which ones depends on the `Way`.
        error: derivative of the loss by the last output, in its shape, as if all examples counted alike; for the mean
            over a batch of B examples, 1/B of each example's own, and 0 of those that do not count.
        y: the targets.
        loss: the loss, detached.
        penalty: the loss with its graph where ``loss_fn`` reads parameters too, else None.
        loss_fn: the loss.
        output_error: derivative of the loss by the last output, as it is.
        read: what teaches the last block: the last output with that; of several, each that the loss reads with its own.
        importance: how much each example counts in the loss, ``(batch,)``, 1 on average, where it says so (class
            weights, ignored labels); None where all count alike.
        counted: of examples that count 1 on average, 0 of the others, ``(batch,)``; None where all count.
        carried: the last signal that was carried to a drive, by the place of its block, with what it is there.
        looked: decoders that were looked at in this call, each with its unit.
    """

    chain: list[Block]
    x: Any
    taught: list[Tensor]
    traces: list[Trace | None]
    given: Any
    outputs: list[Tensor]
    passages: list[Passage]
    error: Tensor
    y: Any
    loss: Tensor
    penalty: Tensor | None
    loss_fn: Callable[..., Any]
    output_error: Tensor
    read: list[tuple[Tensor, Tensor]]
    importance: Tensor | None
    counted: Tensor | None
    carried: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    looked: dict[nn.Module, Unit] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        chain: list[Block],
        x: Any,
        y: Any,
        loss_fn: Callable,
        way: Way,
        record: Record,
        *,
        in_full: bool = False,
    ) -> "Lesson":
        """Run a batch up a chain in one of the ways below.

        Args:
            chain: the blocks.
            x: the batch.
            y: the targets.
            loss_fn: the loss.
            way: which way.
            record: which graphs are wanted.
            in_full: whether to run once more in full precision where autocast lowers it.
        """
        start = random_state(device_of(x)) if in_full and is_lowered(chain) else None
        taught, traces, passages = way(chain, x, record)
        outputs = taught
        given = chain.given if isinstance(chain, NamedChain) else taught[-1]
        loss, errors, penalty = errors_by_tensor(given, y, loss_fn)
        reading = chain.reading if isinstance(chain, NamedChain) else NetOutput((True,))
        error = reading.error(taught[-1], errors)
        if start is not None:
            (outputs, _, passages), error = _run_in_full(chain, x, way, record, start), widened(error)
        v = importance(y, len(error), error.dtype, loss_fn)
        of_examples = by_example(v, loss_fn)
        own, told = own_error(error, of_examples), (of_examples, counted(v))
        read = [(taught[-1], error)] if reading.is_one else [(t, e) for t, e in errors if e is not None]
        ran = (chain, x, taught, traces, given, outputs, passages)
        return cls(*ran, own, y, loss, penalty, loss_fn, error, read, *told)

    @property
    def examples(self) -> int:
        """How many the batch has, B."""
        count = batch_size(self.x)
        return len(self.error) if count is None else count

    @property
    def precision(self) -> contextlib.AbstractContextManager[object]:
        """The context that signals are computed in: without autocast where ``outputs`` are of a run without it."""
        return contextlib.nullcontext() if self.outputs is self.taught else full_precision(self.x)

    @property
    def hidden(self) -> list[Tensor]:
        """The outputs of all blocks but the last."""
        return self.outputs[:-1]

    def let_go(self, place: int) -> None:
        """Hold what a block gave no longer: it is taught, and nothing more is to be made of it."""
        for outputs in (self.taught, self.outputs):
            outputs[place] = outputs[place].new_empty(0)
        self.traces[place] = self.traces[place + 1] = None

    def drive_signal(self, place: int, signal: Tensor) -> Tensor:
        """A signal at a block's output, carried to its drive; done once where a block is taught by it as well."""
        before, delta = self.carried.pop(place, (None, None))
        if delta is None or before is not signal:
            delta = self.passages[place].drive_signal(signal)
            self.carried.clear()
            self.carried[place] = signal, delta
        return delta

    def roots(self, signals: Signals) -> Iterator[Root]:
        """What teaches the hidden blocks, of a signal for each; those that come one at a time are not kept."""
        goes_down = isinstance(signals, Iterator)
        places = range(len(self.taught) - 1)
        # on the way down through every block the next signal is made of what this one is at the drive
        is_carried_on = goes_down and len(self.passages) == len(self.taught)
        for place, signal in zip(places[::-1] if goes_down else places, signals, strict=True):
            trace, delta = self.traces[place], None
            if is_carried_on and trace is not None and signal is not None:
                delta = self.drive_signal(place, signal)
            yield Root(self.taught[place], signal, trace=trace, delta=delta)
            del signal, delta

    def roots_of_the_last(self) -> list[Root]:
        """What teaches the last block, of the error of the output."""
        return [Root(output, error, trace=self.traces[-1]) for output, error in self.read]


def in_order(signals: Signals) -> list[Tensor | None]:
    """All signals, in the order of the chain."""
    return [*signals][::-1] if isinstance(signals, Iterator) else [*signals]


def plainly(chain: list[Block], x: Any, record: Record) -> Run:
    """A `Way` without passages."""
    return run_detached(chain, x, record)


def through_every_block(chain: list[Block], x: Any, record: Record) -> Run:
    """A `Way` with the passage through each block."""
    return run_through(chain, x, record)


def through_the_last_block(chain: list[Block], x: Any, record: Record) -> Run:
    """A `Way` with one passage, through the last block as a whole, for the gradient by its input."""
    return run_into_the_last(chain, x, record) if record(chain[-1]) else run_detached(chain, x, record)


def _run_in_full(chain: list[Block], x: Any, way: Way, record: Record, start: RandomState) -> Run:
    """A second run without autocast, and without a trace, that draws from where the first one began.

    On a GPU dropout may make another mask of the same draws, since they are shared out by type.
    """
    with full_precision(x), without_side_effects(layers_of(chain), device_of(x), start):
        return way(chain, map_tensors(widened, x), record)


def perturbed_output(lesson: Lesson, place: int, epsilon: Tensor) -> Tensor:
    r""":math:`\bar f_l(h_l + \epsilon)`, the net's output with noise in one hidden block; without recording gradients.

    Args:
        lesson: a batch; buffers and global random numbers of the blocks above are not kept.
        place: of the block.
        epsilon: the noise.
    """
    x = lesson.hidden[place].detach() + epsilon
    for block in lesson.chain[place + 1 :]:
        x = without_graph(block, x)
    return x


def output_error(output: Tensor, y: Tensor, loss_fn: Callable) -> tuple[Tensor, Tensor, Tensor | None]:
    """The loss and its derivative by the output.

    Args:
        output: the net's output, ``(batch, …)``.
        y: the targets.
        loss_fn: a differentiable scalar loss.

    Returns:
        The loss, detached; its derivative, in the output's shape; and, where ``loss_fn`` reads parameters too (to
        penalise weights, say), the loss with its graph, else None.

    Raises:
        UserMistake: the loss is no single number, or has no derivative.
        UnsupportedNet: the output is no single tensor.
    """
    require_tensor_from("the net", output)
    loss, read, penalty = output_errors(output, y, loss_fn)
    return loss, read[0][1] if read else torch.zeros_like(output), penalty


def output_errors(
    output: Any, y: Any, loss_fn: Callable
) -> tuple[Tensor, list[tuple[Tensor, Tensor]], Tensor | None]:
    """`output_error` of an output of any structure: the tensors in it that the loss reads, each with its derivative."""
    loss, errors, penalty = errors_by_tensor(output, y, loss_fn)
    return loss, [(tensor, error) for tensor, error in errors if error is not None], penalty


def errors_by_tensor(
    output: Any, y: Any, loss_fn: Callable
) -> tuple[Tensor, list[tuple[Tensor, Tensor | None]], Tensor | None]:
    """As `output_errors`, with every tensor that has derivatives: those that the loss does not read with None."""
    if (known := cross_entropy(output, y, loss_fn)) is not None:
        loss, error = known
        return loss, [(output, error)], None
    given: list[Tensor] = []
    leaves: list[Tensor] = []
    with torch.enable_grad():
        loss = _computed(loss_fn, map_tensors(lambda tensor: _leaf(tensor, given, leaves), output), y)
        _require_differentiable(loss)
        known = {id(leaf) for leaf in leaves}
        reaches_further = any(
            id(read) not in known for node in nodes_below(loss) for read in leaves_read(node)
        )
        errors = torch.autograd.grad(loss, leaves, retain_graph=reaches_further, allow_unused=True)
    return loss.detach(), [*zip(given, errors, strict=True)], loss if reaches_further else None


def _computed(loss_fn: Callable, output: Any, y: Any) -> Any:
    """The loss of leaves; one that overwrites them is refused in a line of our own."""
    try:
        return loss_fn(output, y)
    except RuntimeError as error:
        if "leaf Variable that requires grad is being used in an in-place operation" not in str(error):
            raise
        raise UserMistake("the loss overwrites the net's output: let it make a new tensor") from error


def _leaf(tensor: Tensor, given: list[Tensor], leaves: list[Tensor]) -> Tensor:
    """A tensor without its graph; of floating-point numbers a leaf, and note is taken of both."""
    leaf = tensor.detach()
    if tensor.is_floating_point() or tensor.is_complex():
        given.append(tensor)
        leaves.append(leaf.requires_grad_())
    return leaf


def _require_differentiable(loss: Any) -> None:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        came = (
            f"has the shape {tuple(loss.shape)}"
            if isinstance(loss, Tensor)
            else f"is a {type(loss).__name__}"
        )
        raise UserMistake(
            f"the loss {came}, expected one number, the mean over examples: give it reduction='mean'"
        )
    if not loss.requires_grad:
        raise UserMistake(
            "the loss has no derivative: compute it of the output by differentiable functions, without detach()"
        )


def own_error(error: Tensor, importance: Tensor | None) -> Tensor:
    """An error as if all examples counted alike: the derivative of the loss, ``(batch, …)``, over their importance."""
    if importance is None:
        return error
    v = importance.to(error.dtype).view(-1, *(1,) * (error.dim() - 1))
    return torch.where(v > 0, error / v, 0)


def signals_at_input(lesson: Lesson, signals: Sequence[Tensor | None]) -> Any:
    """Signals at the outputs of blocks, carried on through those that read the input, in the input's structure.

    Args:
        lesson: a batch; its tensors are made leaves.
        signals: one a block, in order; None carries nothing.
    """
    chain, x = lesson.chain, lesson.x
    as_leaves(x)
    if isinstance(chain, NamedChain):
        outputs = [passage.output for passage in chain.run(x, lambda block: True, from_input=True)]
    else:
        outputs = [chain[0](spared(chain[0], x))]
    return carried_to(x, zip(outputs, signals, strict=False))


def carried_to(x: Any, signals: Iterable[tuple[Tensor, Tensor | None]]) -> Any:
    """Signals at tensors, carried back to the leaves in a structure by `as_leaves`, in that structure.

    Args:
        x: the structure.
        signals: tensors, each with the derivative by it; what has no graph or None carries nothing.
    """
    carried = [(tensor, signal) for tensor, signal in signals if signal is not None and tensor.requires_grad]
    if carried:
        roots, derivatives = zip(*carried, strict=True)
        leaves = [tensor for tensor in tensors_in(x) if tensor.requires_grad]
        torch.autograd.backward(roots, derivatives, inputs=leaves)
    return gradients_at(x)
