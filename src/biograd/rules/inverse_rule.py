"""Rules that send errors or targets back through the inverses of a net's own weights."""

import copy
from collections.abc import Iterator
from typing import Annotated, Literal

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
from biograd.credit.chain.blocks import Block, blocks, layers_of
from biograd.credit.chain.passages import Passage, run_through
from biograd.credit.side_effects import without_side_effects
from biograd.layers import FirstUnits
from biograd.rules.base import Loss
from biograd.rules.block_rule import BlockRule, Lesson, Root
from biograd.rules.orthogonality import OrthogonalityPenalty, Penalty
from biograd.rules.random_stream import RandomStream

Strategy = Literal["exact", "kept", "learned"]
Columns = Literal["used", "all"]
Tolerance = Annotated[float, Gt(0), Lt(1)]
TOLERANCE = 1e-3
"""Of kept inverses, unless another is given."""


_UNIT_BY_UNIT = (
    *(
        nn.Identity,
        nn.ReLU,
        nn.LeakyReLU,
        nn.PReLU,
        nn.ELU,
        nn.GELU,
        nn.SiLU,
        nn.Softplus,
        nn.Tanh,
        nn.Sigmoid,
    ),
    *(nn.Hardtanh, nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd),
)


class InverseRule(BlockRule):
    r"""Signals go down a chain through :math:`W_l^{-1}`, one block after another, never below the first.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.
        orthogonality: λ of the penalty that is added to the gradient; see `orthogonality_gradient`.
        penalty: which penalty.
        penalty_every: how often it is computed; see `OrthogonalityPenalty`.
        penalty_held: whether it is held in between; see there.
        seed: of what a rule draws.

    Raises:
        UnsupportedNet: the net is no chain, or a layer but the first has no matrix.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        orthogonality: float,
        penalty: Penalty,
        penalty_every: int,
        penalty_held: bool,
        seed: int,
    ) -> None:
        super().__init__(net)
        for block in blocks(net)[1:]:
            require_invertible_kind(block.opening, block.name)
        self.penalty = OrthogonalityPenalty(orthogonality, penalty, penalty_every, penalty_held, blocks(net))
        self._used: dict[str, int | None] = {}
        self._stream = RandomStream(seed)

    def run(self, chain: list[Block], x: Tensor) -> tuple[list[Tensor], list[Passage]]:
        """Outputs and passages of all blocks.

        Raises:
            UserMistake: one example without its batch dimension.
        """
        passages = run_through(chain, x, lambda block: True)
        for block, passage in zip(chain[1:], passages[1:], strict=True):
            require_batch(block.opening, passage.drive)
        return [passage.output for passage in passages], passages

    def roots(self, lesson: Lesson) -> Iterator[Root]:
        """The blocks, and the penalty where it is due."""
        yield from super().roots(lesson)
        yield from self.penalty.roots(lesson.chain, self._used)

    @torch.no_grad()
    def targets(
        self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Name of every hidden block to its output h and its target ĥ = h − e/2 on a batch, both ``(batch, …)``.

        e is what an example tells the block, so that this is the target of a local loss with the weight 1, whatever
        small step the rule itself takes. Nothing is taught, and nothing is left behind.
        """
        chain, rule = self.chain(net), copy.deepcopy(self)  # kept inverses stay as they are
        with without_side_effects(layers_of(chain), x.device), torch.enable_grad():
            lesson = Lesson.of(rule.run, chain, x, y, loss_fn)
        signals = rule.teaching_signals(lesson)
        return {
            block.name: (h.detach(), h.detach() if s is None else h.detach() - s * (len(x) / 2))
            for block, h, s in zip(chain[:-1], lesson.hidden, signals, strict=True)
        }

    def inverse_weights(self, net: nn.Module) -> dict[str, Tensor]:
        """Parameter name to the matrices ``(…, fan_in, out)`` that signals go back through the inverse of, detached."""
        return {
            f"{block.name}.weight": weight_matrices(block.opening, self._used.get(block.name)).detach()
            for block in self.chain(net)[1:]
        }


class LinearisedInverses(nn.Module):
    """An inverse for every block but the first, by one of the strategies; sends signals from block to block.

    Args:
        net: a chain.
        strategy: ``exact``, ``kept`` (where a layer is square and all of it counts; elsewhere exact) or ``learned``.
        columns: whether the outputs that `FirstUnits` leaves behind have a part in the inverse (``all``, which needs
            square layers) or not (``used``).
        tolerance: of kept inverses.
        stream: what learned inverses are drawn from.

    Raises:
        UnsupportedNet: a layer has no matrix, or no square one where that is needed.
    """

    def __init__(
        self, net: nn.Module, strategy: Strategy, columns: Columns, tolerance: float, stream: RandomStream
    ) -> None:
        super().__init__()
        self._stream = stream
        chain = blocks(net)[1:]
        for block in chain:
            (require_square if columns == "all" else require_invertible_kind)(block.opening, block.name)
        self.used = {block.name: used_units(block) if columns == "used" else None for block in chain}
        self.of = nn.ModuleList(self._make(block, strategy, tolerance) for block in chain)

    def _make(self, block: Block, strategy: Strategy, tolerance: float) -> Inverse:
        name, layer, used = block.name, block.opening, self.used[block.name]
        if strategy == "learned":
            return LearnedInverse(name, layer, used, self._stream.next("cpu"))
        fan_in, out = weight_matrices(layer).shape[-2:]
        if strategy == "kept" and used is None and fan_in == out:
            return KeptInverse(name, layer, tolerance)
        return ExactInverse(name, used)

    def send(self, place: int, block: Block, passage: Passage, delta: Tensor) -> Tensor:
        """What the output of the block before is told when the drive of this one, number ``place``, is told δ."""
        dtype = block.opening.get_parameter("weight").dtype
        with torch.autocast(delta.device.type, enabled=False):  # inverses need the precision of the weights
            e = self.of[place - 1](block.opening, delta.to(dtype), passage.input.detach().to(dtype))
        return passage.entry_signal(e.to(passage.input.dtype))

    def roots(self, chain: list[Block], rows: int) -> Iterator[Root]:
        """What learned inverses begin their lesson at; nothing for others."""
        for block, inverse in zip(chain[1:], self.of, strict=True):
            if isinstance(inverse, LearnedInverse):
                yield inverse.reconstruction(block.opening, rows, self._stream.next(inverse.X.device))


def used_units(block: Block) -> int | None:
    """How many units the block passes on, None for all; counted where what comes before `FirstUnits` mixes no units."""
    for layer in block.following:
        if isinstance(layer, FirstUnits):
            out = weight_matrices(block.opening).shape[-1]
            return layer.count if layer.count < out and getattr(block.opening, "groups", 1) == 1 else None
        if not isinstance(layer, _UNIT_BY_UNIT):
            return None
    return None
