"""Inverses of a net's own weights, through which errors travel back from block to block."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from biograd.credit.back.inverses import Inverse, LearnedInverse
from biograd.credit.back.invertible_blocks import require_square
from biograd.credit.back.own_inverses import (
    carried_by_derivative,
    require_derivative,
    require_inverse,
    suggesting_undo,
    undoes_itself,
)
from biograd.credit.back.used_units import used_units
from biograd.credit.back.weight_matrices import require_batch, require_invertible_kind, weight_matrices
from biograd.credit.chain.blocks import Block
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson, Way, through_every_block
from biograd.credit.chain.passages import Passage
from biograd.rules.parts.chains import suggesting_rules_for_any_net
from biograd.rules.parts.inverse_strategies import Columns, InverseStrategy
from biograd.rules.parts.inverses_inside import InversesInside
from biograd.rules.parts.random_stream import RandomStream


class Inverses(nn.Module):
    """An inverse for the opening layer of every block but the first, by one of the strategies.

    Args:
        chain: the blocks of a net.
        strategy: how each inverse is made.
        columns: whether the outputs that `biograd.layers.FirstUnits` leaves behind have a part in the inverse (``all``,
            which needs square layers) or not (``used``).
        stream: what learned inverses are drawn from.
        undo: the method of modules that undo themselves, which need no other inverse.
        inside: inverses of the weights in blocks that signals pass as a whole; None where there are no such.

    Raises:
        UnsupportedNet: a layer has no matrix, or no square one where that is needed.
    """

    def __init__(
        self,
        chain: Sequence[Block],
        strategy: InverseStrategy,
        columns: Columns,
        stream: RandomStream,
        undo: str | None,
        inside: InversesInside | None = None,
    ) -> None:
        super().__init__()
        self._stream, self.undo, self._has_looked = stream, undo, False
        self.whole = frozenset[int]() if inside is None else inside.whole
        layers = self._layers(chain)
        for block in layers.values():
            with suggesting_undo(block, undo):
                (require_square if columns == "all" else require_invertible)(block.opening, block.name)
        self.used = {b.name: used_units(b) if columns == "used" else None for b in layers.values()}
        self.of = nn.ModuleList(_inverse(block, self.used, strategy, stream) for block in layers.values())
        self._at = dict(zip(layers, self.of, strict=True))  # by the place of their block
        self.inside = inside

    @property
    def way(self) -> Way:
        """How a batch runs up the chain for these inverses."""
        return through_every_block if self.inside is None else self.inside.run

    def send(self, place: int, lesson: Lesson, delta: Tensor) -> Tensor:
        r""":math:`\delta_l W_l^{-1}` at the output of the block before, for δ at the drive of block ``place``."""
        block, passage = lesson.chain[place], lesson.passages[place]
        if passage.trace is not None and not undoes_itself(block, self.undo):
            return passage.entry_signal(self._at[place](block.opening, delta, passage.input))
        with torch.autocast(delta.device.type, enabled=False):  # inverses need the precision of the weights
            if passage.loan is not None:
                assert self.inside is not None
                return self.inside.carried(block.name, passage, delta)
            if undoes_itself(block, self.undo):
                return self._send_by_derivative(block, passage, delta)
            dtype = block.opening.get_parameter("weight").dtype
            inverse = self._at[place]
            e = inverse(block.opening, delta.to(dtype), passage.input.detach().to(dtype))
        return passage.entry_signal(e.to(passage.input.dtype))

    def _send_by_derivative(self, block: Block, passage: Passage, delta: Tensor) -> Tensor:
        assert self.undo is not None
        drive = passage.bare_drive()
        dtype = next(block.opening.parameters(), drive).dtype
        # e J⁻¹, the derivative of g at the drive
        e = carried_by_derivative(block.opening, self.undo, drive.to(dtype), delta.to(dtype))
        return passage.entry_signal(e.to(passage.input.dtype))

    def look(self, lesson: Lesson) -> None:
        """See that the batch has its dimension and, in the first call, that modules undo themselves."""
        require_batches(lesson)
        if self._has_looked:
            return
        for block, passage in zip(lesson.chain[1:], lesson.passages[1:], strict=True):
            if self.undo is not None and undoes_itself(block, self.undo):
                require_inverse(block, self.undo, passage)
                require_derivative(block, self.undo, passage)
        self._has_looked = True

    def lessons(self, lesson: Lesson) -> Iterator[Root]:
        """The lessons of learned inverses, from fresh noise; none for others."""
        for place, inverse in self._at.items():
            if isinstance(inverse, LearnedInverse):
                block = lesson.chain[place]
                W = weight_matrices(block.opening, self.used[block.name])
                generator = self._stream.next(inverse.X.device)
                yield Root(*inverse.reconstruction(W, lesson.examples, generator), has_examples=False)
        if self.inside is not None:
            yield from self.inside.lessons(lesson)

    def weights(self, chain: list[Block]) -> dict[str, Tensor]:
        """See `biograd.Rule.inverse_weights`."""
        found = inverted_weights(self._layers(chain).values(), self.used)
        return found if self.inside is None else {**found, **self.inside.weights(chain)}

    def _layers(self, chain: Sequence[Block]) -> dict[int, Block]:
        """The blocks that signals go back through at their opening layer, by their place in the chain."""
        above = {place: b for place, b in enumerate(chain) if place > 0 and place not in self.whole}
        return {place: block for place, block in above.items() if not undoes_itself(block, self.undo)}


def _inverse(
    block: Block, used: dict[str, int | None], strategy: InverseStrategy, stream: RandomStream
) -> Inverse:
    count = used[block.name]
    return strategy.inverse(block.name, weight_matrices(block.opening, count), count, stream)


def inverted_weights(blocks: Iterable[Block], used: dict[str, int | None]) -> dict[str, Tensor]:
    """Name of the weight that opens each block to its matrices ``(…, fan_in, used outputs)``, detached."""
    return {
        f"{block.name}.weight": weight_matrices(block.opening, used.get(block.name)).detach()
        for block in blocks
    }


def require_invertible(layer: nn.Module, name: str) -> None:
    """Refuse a layer whose weights cannot be read as matrices, and name the rules for any net.

    Raises:
        UnsupportedNet: it is no linear, convolutional or locally connected layer, or pads in a way of its own.
    """
    with suggesting_rules_for_any_net():
        require_invertible_kind(layer, name)


def require_batches(lesson: Lesson) -> None:
    """Refuse one example without its batch dimension.

    Raises:
        UserMistake: it is that.
    """
    for block, passage in zip(lesson.chain[1:], lesson.passages[1:], strict=True):
        require_batch(block.opening, passage.drive)
