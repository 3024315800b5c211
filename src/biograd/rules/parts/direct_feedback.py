"""Random projections from the output straight to a hidden block, in the forms that convolutions call for."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.chain.blocks import blocks
from biograd.credit.chain.shapes import output_shapes
from biograd.errors import UnsupportedNet, UserMistake
from biograd.rules.parts.feedback_weights import draw_like
from biograd.rules.parts.random_stream import RandomStream
from biograd.settings import Meaning

Form = Annotated[
    Literal["full", "low-rank", "tiled"], Meaning("form of every B, as `DirectFeedbackAlignment` has it")
]
Rank = Annotated[int, Gt(0)]
_RANK = 8


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


class DirectFeedback(nn.Module):
    """One projection a hidden block, with entries of standard deviation ``scale / √outputs``.

    Args:
        net: a chain, whose dtype and device they take.
        sample: one input, from which the shapes are taken; see `biograd.credit.chain.shapes.output_shapes`.
        form: full, low-rank or tiled.
        rank: of the low-rank form, 8 unless given; for no other form.
        scale: see above.
        seed: of all of them.

    Raises:
        UserMistake: a rank for another form than low-rank.
    """

    def __init__(
        self, net: nn.Module, sample: Tensor | None, *, form: Form, rank: int | None, scale: float, seed: int
    ) -> None:
        super().__init__()
        if rank is not None and form != "low-rank":
            raise UserMistake(
                f"rank {rank} goes with form 'low-rank', not with {form!r}: leave it out, or change the form"
            )
        shapes, like = output_shapes(blocks(net), sample), next(net.parameters())
        stream = RandomStream(seed)
        outputs = math.prod(shapes[-1])
        spread = scale / math.sqrt(outputs)
        make: dict[Form, Callable[[torch.Size], nn.Module]] = {
            "full": lambda units: FullProjection(units, outputs, spread, like, stream),
            "low-rank": lambda units: LowRankProjection(units, outputs, spread, like, stream, rank or _RANK),
            "tiled": lambda units: TiledProjection(units, outputs, spread, like, stream),
        }
        self._is_flat = all(len(shape) == 1 for shape in shapes)
        self.blocks = nn.ModuleList(make[form](units) for units in shapes[:-1])

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
