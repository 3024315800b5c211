"""A batch's way up a chain: every block runs on the detached output of the one before."""

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from biograd.credit.by_hand.unit import Trace
from biograd.credit.chain.blocks import Block, is_in_place, run_layers, spared
from biograd.credit.chain.named_chain import NamedChain, Watcher
from biograd.credit.chain.passage import Passage
from biograd.credit.structures import require_tensor_from
from biograd.errors import UnsupportedNet

_NOTHING = nullcontext()


class Run(NamedTuple):
    """What a batch left on its way up a chain.

    Attributes:
        outputs: of each block, ``(batch, …)``; the values are bit for bit those of the net.
        traces: of each block what teaches it by hand, or None where its output has a graph.
        passages: through those blocks that the run was made for.
    """

    outputs: list[Tensor]
    traces: list[Trace | None]
    passages: list[Passage]

    @classmethod
    def of(cls, passages: list[Passage], kept: slice = slice(None)) -> "Run":
        """A run with a passage through every block, of which some are kept."""
        traces = [passage.trace for passage in passages]
        return cls([passage.output for passage in passages], traces, passages[kept])


def run_detached(chain: Sequence[Block], x: Any, record: Callable[[Block], bool]) -> Run:
    """Run every block on the detached output of the one before.

    Args:
        chain: the blocks.
        x: a batch of inputs; at named cut points any structure of tensors.
        record: whether a block's graph is wanted; a frozen block on a detached input has none.
    """
    if isinstance(chain, NamedChain):
        return Run.of(chain.run(x, record), slice(0))
    outputs, traces = [], []
    with torch.no_grad():
        for block in chain:
            trace = _trace(block, x)
            if trace is None:
                with torch.set_grad_enabled(record(block)):
                    x = block(spared(block, x.detach()))
            else:
                x = trace.output
            outputs.append(x)
            traces.append(trace)
    return Run(outputs, traces, [])


def without_graph(block: Block, x: Any) -> Tensor:
    """What a block makes of a batch once more; to be called without recording gradients."""
    unit = block.by_hand(x)
    return block(spared(block, x)) if unit is None else unit.run(x).output


def _trace(block: Block, x: Tensor) -> Trace | None:
    """A batch's way through a block by hand, recording no gradients; None where its derivatives are not known."""
    if (unit := block.by_hand(x)) is None:
        return None
    with torch.no_grad() if torch.is_grad_enabled() else _NOTHING:
        return unit.run(x)


def run_through(
    chain: Sequence[Block],
    x: Any,
    record: Callable[[Block], bool],
    whole: Collection[int] = (),
    watcher: Watcher | None = None,
) -> Run:
    """As `run_detached`, and keep the graphs of the layers around each opening one, which signals travel back through.

    Args:
        chain: the blocks.
        x: a batch of inputs.
        record: whether a block's graph is wanted.
        whole: places of blocks, not the first, that signals travel back through as a whole.
        watcher: watches while these run.
    """
    if isinstance(chain, NamedChain):
        return Run.of(chain.run(x, record, through_every_block=True, whole=whole, watcher=watcher))
    passages = []
    with torch.no_grad():
        for place, block in enumerate(chain):
            if watcher is not None:
                watcher.watches = place in whole
            trace = None if place in whole else _trace(block, x)
            if trace is not None:
                passages.append(passage_of(trace))
            else:
                with torch.set_grad_enabled(record(block)):
                    passages.append(_through(block, x.detach(), is_first=place == 0, is_whole=place in whole))
            x = passages[-1].output
    return Run.of(passages)


def _through(block: Block, entry: Tensor, *, is_first: bool, is_whole: bool) -> Passage:
    return _whole_passage(block, entry) if is_whole else _passage(block, entry, is_first=is_first)


def run_into_the_last(chain: Sequence[Block], x: Tensor, record: Callable[[Block], bool]) -> Run:
    """As `run_detached`, with the passage through the last block as a whole."""
    if isinstance(chain, NamedChain):
        return Run.of(chain.run(x, record, into_the_last=True), slice(-1, None))
    *hidden, last = chain
    outputs, traces, _ = run_detached(hidden, x, record)
    entry = outputs[-1] if outputs else x
    trace = _trace(last, entry)
    if trace is not None:
        return Run([*outputs, trace.output], [*traces, trace], [passage_of(trace)])
    with torch.enable_grad():
        entry = entry.detach().requires_grad_()
        output = last(spared(last, entry))
    return Run([*outputs, output], [*traces, None], [Passage(entry, entry, output, output)])


def passage_of(trace: Trace) -> Passage:
    """A passage by hand."""
    return Passage(trace.entry, trace.input, trace.output, trace.output, trace=trace)


def _whole_passage(block: Block, entry: Tensor) -> Passage:
    if torch.is_grad_enabled():
        entry.requires_grad_()
    output = block(entry.clone())  # a layer may overwrite it, and a watcher sees that it is activity
    return Passage(entry, entry, output, output)


def _passage(block: Block, entry: Tensor, *, is_first: bool) -> Passage:
    if block.leading and not is_first and torch.is_grad_enabled() and entry.is_floating_point():
        entry.requires_grad_()
    x = run_layers(block.leading, spared(block, entry))
    # What leads the first block may learn too (a normalisation): it stays within the graph.
    drive = block.opening(x if is_first else x.detach())
    require_tensor_from(f"the layer {block.name!r}", drive)
    if torch.is_grad_enabled() and not drive.requires_grad:
        drive.requires_grad_()  # frozen weights: signals pass all the same
    return Passage(entry, x, drive, _run_unharmed(block.following, drive, block.name))


def _run_unharmed(layers: Sequence[nn.Module], drive: Tensor, name: str) -> Tensor:
    """The output of the layers, which may not overwrite the drive."""
    version = drive._version
    output = run_layers(layers, drive.clone() if is_in_place(layers) else drive)
    require_tensor_from(f"the block {name!r}", output)
    if drive._version != version:
        raise UnsupportedNet(
            f"a layer behind {name!r} overwrites its input without an attribute inplace=True that says so: "
            "let it make a new tensor"
        )
    return output
