"""Inverses of a net's own weights, through which errors travel back from block to block."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn

from biograd.credit.back.inverses import (
    ExactInverse,
    Inverse,
    KeptInverse,
    LearnedInverse,
    require_batch,
    require_invertible_kind,
    weight_matrices,
)
from biograd.credit.back.invertible_blocks import require_square
from biograd.credit.back.used_units import used_units
from biograd.credit.chain.blocks import Block
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson
from biograd.credit.chain.passages import Passage
from biograd.rules.parts.chains import suggesting_rules_for_any_net
from biograd.rules.parts.random_stream import RandomStream
from biograd.settings import Strategy

Columns = Literal["used", "all"]


class InverseStrategy(Strategy):
    """Interface: what stands for the inverse of a layer's weights."""

    @abstractmethod
    def inverse(self, block: Block, used: int | None, stream: RandomStream) -> Inverse:
        """The inverse of a block's opening layer.

        Args:
            block: the block.
            used: how many of the layer's outputs count, None for all.
            stream: what it is drawn from, if it is drawn.
        """


@dataclass(frozen=True, kw_only=True)
class Exact(InverseStrategy):
    """The weights are solved for anew at every call."""

    name: ClassVar[str] = "exact"

    def inverse(self, block: Block, used: int | None, stream: RandomStream) -> Inverse:
        """See `InverseStrategy.inverse`."""
        del stream
        return ExactInverse(block.name, used)


@dataclass(frozen=True, kw_only=True)
class Kept(InverseStrategy):
    """An inverse from an earlier call is corrected. Exact where a layer is not square or not all its outputs count.

    Args:
        tolerance: largest relative residual that a correction may leave before an inverse is made anew; see
            `biograd.credit.back.inverses.KeptInverse`.
    """

    name: ClassVar[str] = "kept"
    tolerance: Annotated[float, Gt(0), Lt(1)] = 1e-3

    def inverse(self, block: Block, used: int | None, stream: RandomStream) -> Inverse:
        """See `InverseStrategy.inverse`."""
        fan_in, out = weight_matrices(block.opening).shape[-2:]
        if used is None and fan_in == out:
            return KeptInverse(block.name, block.opening, self.tolerance)
        return Exact().inverse(block, used, stream)


@dataclass(frozen=True, kw_only=True)
class Learned(InverseStrategy):
    """A linear map that learns to undo the weights, from noise alone."""

    name: ClassVar[str] = "learned"

    def inverse(self, block: Block, used: int | None, stream: RandomStream) -> Inverse:
        """See `InverseStrategy.inverse`."""
        return LearnedInverse(block.name, block.opening, used, stream.next("cpu"))


class Inverses(nn.Module):
    """An inverse for every block but the first, by one of the strategies.

    Args:
        chain: the blocks of a net.
        strategy: how each inverse is made.
        columns: whether the outputs that `biograd.layers.FirstUnits` leaves behind have a part in the inverse (``all``,
            which needs square layers) or not (``used``).
        stream: what learned inverses are drawn from.

    Raises:
        UnsupportedNet: a layer has no matrix, or no square one where that is needed.
    """

    def __init__(
        self, chain: Sequence[Block], strategy: InverseStrategy, columns: Columns, stream: RandomStream
    ) -> None:
        super().__init__()
        self._stream = stream
        chain = chain[1:]
        for block in chain:
            (require_square if columns == "all" else require_invertible)(block.opening, block.name)
        self.used = {block.name: used_units(block) if columns == "used" else None for block in chain}
        self.of = nn.ModuleList(strategy.inverse(block, self.used[block.name], stream) for block in chain)

    def send(self, place: int, block: Block, passage: Passage, delta: Tensor) -> Tensor:
        r""":math:`\delta_l W_l^{-1}` at the output of the block before, for δ at the drive of block ``place``."""
        dtype = block.opening.get_parameter("weight").dtype
        with torch.autocast(delta.device.type, enabled=False):  # inverses need the precision of the weights
            e = self.of[place - 1](block.opening, delta.to(dtype), passage.input.detach().to(dtype))
        return passage.entry_signal(e.to(passage.input.dtype))

    def lessons(self, lesson: Lesson) -> Iterator[Root]:
        """The lessons of learned inverses, from fresh noise; none for others."""
        for block, inverse in zip(lesson.chain[1:], self.of, strict=True):
            if isinstance(inverse, LearnedInverse):
                generator = self._stream.next(inverse.X.device)
                yield Root(
                    *inverse.reconstruction(block.opening, lesson.examples, generator), has_examples=False
                )

    def weights(self, chain: list[Block]) -> dict[str, Tensor]:
        """See `biograd.Rule.inverse_weights`."""
        return inverted_weights(chain, self.used)


def inverted_weights(chain: list[Block], used: dict[str, int | None]) -> dict[str, Tensor]:
    """Name of the weight of every block but the first to its matrices ``(…, fan_in, used outputs)``, detached."""
    return {
        f"{block.name}.weight": weight_matrices(block.opening, used.get(block.name)).detach()
        for block in chain[1:]
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
