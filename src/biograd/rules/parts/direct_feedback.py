"""Random projections from the output straight to a hidden block, in the forms that maps and sequences call for."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block
from biograd.credit.chain.named_chain import NamedChain
from biograd.credit.chain.places import Laid
from biograd.credit.chain.shapes import output_shapes
from biograd.credit.chain.ways import Way, way_to
from biograd.errors import UnsupportedNet
from biograd.rules.parts.feedback_weights import draw_like
from biograd.rules.parts.places import Layout
from biograd.rules.parts.random_stream import RandomStream
from biograd.settings import Strategy


class FullProjection(nn.Module):
    """``B e``.

    Args:
        units: how many numbers it gives.
        outputs: how many it takes.
        scale: standard deviation of the entries of B.
        like: a tensor of the dtype and on the device of B.
        stream: what B is drawn from.

    Attributes:
        B: ``(units, outputs)``, fixed.
    """

    def __init__(self, units: int, outputs: int, scale: float, like: Tensor, stream: RandomStream) -> None:
        super().__init__()
        self.register_buffer("B", _draw(like, (units, outputs), scale, stream))
        self.B: Tensor

    def forward(self, e: Tensor) -> Tensor:
        """``(…, units)`` for ``(…, outputs)``."""
        return F.linear(e, self.B)


class LowRankProjection(nn.Module):
    """``U V e``: the full matrix at rank r, with ``(units + outputs) · r`` numbers in memory.

    Entries of U V have the standard deviation ``scale``. Arguments as in `FullProjection`, and the rank.
    """

    def __init__(
        self, units: int, outputs: int, scale: float, like: Tensor, stream: RandomStream, rank: int
    ) -> None:
        super().__init__()
        # (U V)_ij sums rank products, each of variance scale² / rank
        self.register_buffer("U", _draw(like, (units, rank), 1.0, stream))
        self.register_buffer("V", _draw(like, (rank, outputs), scale / math.sqrt(rank), stream))
        self.U: Tensor
        self.V: Tensor

    def forward(self, e: Tensor) -> Tensor:
        """``(…, units)`` for ``(…, outputs)``."""
        return e @ self.V.t() @ self.U.t()


class Form(Strategy):
    """Interface: what the projection to a block is made of."""

    is_tiled: ClassVar[bool] = False
    """Whether all places of a block are told the same, also where the projection is not one for all of them."""

    @abstractmethod
    def projection(
        self, units: int, outputs: int, scale: float, like: Tensor, stream: RandomStream
    ) -> nn.Module:
        """The projection to one block; arguments as in `FullProjection`."""


@dataclass(frozen=True, kw_only=True)
class Full(Form):
    """A weight from every output to every unit."""

    name: ClassVar[str] = "full"

    def projection(
        self, units: int, outputs: int, scale: float, like: Tensor, stream: RandomStream
    ) -> FullProjection:
        """See `Form.projection`."""
        return FullProjection(units, outputs, scale, like, stream)


@dataclass(frozen=True, kw_only=True)
class LowRank(Form):
    """The full matrix as a product of two.

    Args:
        rank: numbers between the two.
    """

    name: ClassVar[str] = "low-rank"
    rank: Annotated[int, Gt(0)] = 8

    def projection(
        self, units: int, outputs: int, scale: float, like: Tensor, stream: RandomStream
    ) -> LowRankProjection:
        """See `Form.projection`."""
        return LowRankProjection(units, outputs, scale, like, stream, self.rank)


@dataclass(frozen=True, kw_only=True)
class Tiled(Form):
    """One signal a feature, the same at every place."""

    name: ClassVar[str] = "tiled"
    is_tiled: ClassVar[bool] = True

    def projection(
        self, units: int, outputs: int, scale: float, like: Tensor, stream: RandomStream
    ) -> FullProjection:
        """See `Form.projection`."""
        return FullProjection(units, outputs, scale, like, stream)


class DirectFeedback(nn.Module):
    """One projection a hidden block, with entries of standard deviation ``scale / √outputs``.

    Args:
        chain: the blocks of a net, whose dtype and device they take.
        sample: one input, from which the shapes are taken; see `biograd.credit.chain.shapes.output_shapes`.
        form: of every projection.
        layout: what the user says of places and of the axes beside them.
        scale: see above.
        seed: of all of them.
        source: whose numbers are projected: those of the block at this index.

    Attributes:
        source: how these lie.
        blocks: the projections.
    """

    def __init__(
        self,
        chain: Sequence[Block],
        sample: Any,
        form: Form,
        layout: Layout,
        *,
        scale: float,
        seed: int,
        source: int = -1,
    ) -> None:
        super().__init__()
        laid = layout.of(chain, output_shapes(chain, sample))
        like = next(parameter for block in chain for parameter in block.parameters())
        stream = RandomStream(seed)
        self.source: Laid = laid[source]
        self._is_vector = source == -1 and isinstance(chain, NamedChain) and not chain.reading.is_one
        self._ways: list[Way] = [
            way_to(hidden, self.source, layout.places, is_tiled=form.is_tiled) for hidden in laid[:-1]
        ]
        self.blocks = nn.ModuleList(
            form.projection(way.units, way.outputs, scale / math.sqrt(way.outputs), like, stream)
            for way in self._ways
        )

    def forward(self, source: Tensor, hidden: Sequence[Tensor]) -> Iterator[Tensor]:
        """The projections of ``source``, a tensor in the shape of a block's output, from the last hidden block down.

        Raises:
            UnsupportedNet: a size of source or hidden blocks that the projections were not made for.
        """
        if self._is_vector and source.shape[1] != self.source.features:
            raise UnsupportedNet(
                f"the net gives {source.shape[1]} numbers an example, and gave {self.source.features} when the rule "
                "was made: make it with a sample of this size"
            )
        return (way(projection, source, h) for way, projection, h in reversed(self._told(source, hidden)))

    def of_mean(self, source: Tensor, hidden: Sequence[Tensor]) -> Iterator[Tensor]:
        """As `forward`, averaged over the examples that the source holds: over places too, where each has its own."""
        parts: dict[int, Tensor] = {}
        for way in self._ways:
            count = way.examples(source)
            parts[count] = parts[count] if count in parts else source / count
        told = reversed(self._told(source, hidden))
        return (way(projection, parts[way.examples(source)], h) for way, projection, h in told)

    def _told(self, source: Tensor, hidden: Sequence[Tensor]) -> list[tuple[Way, nn.Module, Tensor]]:
        told = [*zip(self._ways, self.blocks, hidden, strict=True)]
        for way, _, h in told:
            if len(h) != len(source):
                raise UnsupportedNet(
                    f"{way.hidden.what} has {len(h)} rows for a batch of {len(source)}, and each example is told its "
                    "own error: let the block give (batch, …)"
                )
        return told


def _draw(like: Tensor, shape: tuple[int, ...], scale: float, stream: RandomStream) -> Tensor:
    return draw_like(like.detach().new_empty(shape), scale, "uniform", stream.next("cpu"))
