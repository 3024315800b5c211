"""Random projections from the output straight to a hidden block, in the forms that convolutions call for."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.chain.blocks import blocks
from biograd.credit.chain.shapes import output_shapes
from biograd.errors import UnsupportedNet
from biograd.rules.parts.feedback_weights import draw_like
from biograd.rules.parts.random_stream import RandomStream
from biograd.settings import Strategy


class FullProjection(nn.Module):
    """``B e`` with a weight from every output to every unit.

    Args:
        units: shape of the block's output for one example.
        outputs: number of outputs of the net.
        scale: standard deviation of the entries of B.
        like: a tensor of the dtype and on the device of B.
        stream: what B is drawn from.

    Attributes:
        B: ``(units, outputs)``, fixed.
    """

    def __init__(
        self, units: torch.Size, outputs: int, scale: float, like: Tensor, stream: RandomStream
    ) -> None:
        super().__init__()
        self.register_buffer("B", _draw(like, (math.prod(units), outputs), scale, stream))
        self.B: Tensor

    def forward(self, e: Tensor, hidden: Tensor) -> Tensor:
        """A signal in the shape of ``hidden`` for ``e``, ``(…, outputs)``."""
        return _in_shape_of(hidden, e @ self.B.t())


class LowRankProjection(nn.Module):
    """``U V e``: the full matrix at rank r, with ``(units + outputs) · r`` numbers in memory.

    Entries of U V have the standard deviation ``scale``. Arguments as in `FullProjection`, and the rank.
    """

    def __init__(
        self, units: torch.Size, outputs: int, scale: float, like: Tensor, stream: RandomStream, rank: int
    ) -> None:
        super().__init__()
        # (U V)_ij sums rank products, each of variance scale² / rank
        self.register_buffer("U", _draw(like, (math.prod(units), rank), 1.0, stream))
        self.register_buffer("V", _draw(like, (rank, outputs), scale / math.sqrt(rank), stream))
        self.U: Tensor
        self.V: Tensor

    def forward(self, e: Tensor, hidden: Tensor) -> Tensor:
        """A signal in the shape of ``hidden`` for ``e``, ``(…, outputs)``."""
        return _in_shape_of(hidden, e @ self.V.t() @ self.U.t())


class TiledProjection(nn.Module):
    """``B e`` for every channel, the same at every position, with ``channels · outputs`` numbers in memory.

    Channels are the first dimension of an example, as in images. Where a block has no positions it is the full
    matrix. Arguments as in `FullProjection`.
    """

    def __init__(
        self, units: torch.Size, outputs: int, scale: float, like: Tensor, stream: RandomStream
    ) -> None:
        super().__init__()
        self.register_buffer("B", _draw(like, (units[0], outputs), scale, stream))
        self.B: Tensor

    def forward(self, e: Tensor, hidden: Tensor) -> Tensor:
        """A signal in the shape of ``hidden`` for ``e``, ``(…, outputs)``."""
        signal = e @ self.B.t()  # (…, channels)
        if signal.shape == hidden.shape:
            return signal
        positions = (1,) * (hidden.dim() - signal.dim())
        return signal.view(*signal.shape, *positions).expand(hidden.shape)


class Form(Strategy):
    """Interface: what the projection to a block is made of."""

    @abstractmethod
    def projection(
        self, units: torch.Size, outputs: int, scale: float, like: Tensor, stream: RandomStream
    ) -> nn.Module:
        """The projection to one block; arguments as in `FullProjection`."""


@dataclass(frozen=True, kw_only=True)
class Full(Form):
    """A weight from every output to every unit."""

    name: ClassVar[str] = "full"

    def projection(
        self, units: torch.Size, outputs: int, scale: float, like: Tensor, stream: RandomStream
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
        self, units: torch.Size, outputs: int, scale: float, like: Tensor, stream: RandomStream
    ) -> LowRankProjection:
        """See `Form.projection`."""
        return LowRankProjection(units, outputs, scale, like, stream, self.rank)


@dataclass(frozen=True, kw_only=True)
class Tiled(Form):
    """One signal a channel, the same at every position."""

    name: ClassVar[str] = "tiled"

    def projection(
        self, units: torch.Size, outputs: int, scale: float, like: Tensor, stream: RandomStream
    ) -> TiledProjection:
        """See `Form.projection`."""
        return TiledProjection(units, outputs, scale, like, stream)


class DirectFeedback(nn.Module):
    """One projection a hidden block, with entries of standard deviation ``scale / √outputs``.

    Args:
        net: a chain, whose dtype and device they take.
        sample: one input, from which the shapes are taken; see `biograd.credit.chain.shapes.output_shapes`.
        form: of every projection.
        scale: see above.
        seed: of all of them.
    """

    def __init__(self, net: nn.Module, sample: Tensor | None, *, form: Form, scale: float, seed: int) -> None:
        super().__init__()
        shapes, like = output_shapes(blocks(net), sample), next(net.parameters())
        stream = RandomStream(seed)
        outputs = math.prod(shapes[-1])
        spread = scale / math.sqrt(outputs)
        self._is_flat = all(len(shape) == 1 for shape in shapes)
        self.blocks = nn.ModuleList(
            form.projection(units, outputs, spread, like, stream) for units in shapes[:-1]
        )

    def forward(self, source: Tensor, hidden: Sequence[Tensor]) -> list[Tensor]:
        """The projection of ``source``, a tensor in the shape of the net's output, to every hidden block."""
        e = source if self._is_flat else source.flatten(1)
        return [projection(e, h) for projection, h in zip(self.blocks, hidden, strict=True)]


def _in_shape_of(hidden: Tensor, signal: Tensor) -> Tensor:
    if signal.numel() != hidden.numel():
        raise UnsupportedNet(
            f"a block's output is {tuple(hidden.shape[1:])}, {signal.numel() // len(signal)} units were seen when the "
            "rule was made: make it with a sample of this size, or with form='tiled', which takes any"
        )
    return signal.view(hidden.shape)


def _draw(like: Tensor, shape: tuple[int, ...], scale: float, stream: RandomStream) -> Tensor:
    return draw_like(like.detach().new_empty(shape), scale, "uniform", stream.next("cpu"))
