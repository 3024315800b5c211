"""A batch's way up a chain: every block runs on the detached output of the one before."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block, is_in_place, run_layers, spared
from biograd.credit.chain.named_chain import NamedChain, Watcher
from biograd.credit.chain.passage import Passage
from biograd.credit.structures import require_tensor_from
from biograd.errors import UnsupportedNet


def run_detached(chain: Sequence[Block], x: Any, record: Callable[[Block], bool]) -> list[Tensor]:
    """Run every block on the detached output of the one before.

    Args:
        chain: the blocks.
        x: a batch of inputs; at named cut points any structure of tensors.
        record: whether a block's graph is wanted; a frozen block on a detached input has none.

    Returns:
        The output of each block, ``(batch, …)``; the values are bit for bit those of the net.
    """
    if isinstance(chain, NamedChain):
        return [passage.output for passage in chain.run(x, record)]
    outputs = []
    for block in chain:
        with torch.set_grad_enabled(record(block)):
            x = block(spared(block, x.detach()))
        outputs.append(x)
    return outputs


def run_through(
    chain: Sequence[Block],
    x: Any,
    record: Callable[[Block], bool],
    whole: Collection[int] = (),
    watcher: Watcher | None = None,
) -> list[Passage]:
    """As `run_detached`, and keep the graphs of the layers around each opening one, which signals travel back through.

    Args:
        chain: the blocks.
        x: a batch of inputs.
        record: whether a block's graph is wanted.
        whole: places of blocks, not the first, that signals travel back through as a whole.
        watcher: watches while these run.
    """
    if isinstance(chain, NamedChain):
        return chain.run(x, record, through_every_block=True, whole=whole, watcher=watcher)
    passages = []
    for place, block in enumerate(chain):
        if watcher is not None:
            watcher.watches = place in whole
        with torch.set_grad_enabled(record(block)):
            passage = _whole_passage(block, x.detach()) if place in whole else None
            passages.append(passage or _passage(block, x.detach(), is_first=place == 0))
        x = passages[-1].output
    return passages


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
