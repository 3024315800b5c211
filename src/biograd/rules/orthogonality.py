"""A penalty that keeps weights near orthogonal, so that their inverse stays near their transpose."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from biograd.credit.back.inverses import as_matrices, as_weight, has_matrices, narrowed
from biograd.credit.chain.blocks import Block
from biograd.errors import UserMistake
from biograd.layers import LocallyConnected2d
from biograd.rules.parts.feedback_weights import WeightTable

Penalty = Literal["off-diagonal", "full"]
Coefficient = Annotated[float, Ge(0)]
Period = Annotated[int, Gt(0)]


class OrthogonalityPenalty(nn.Module):
    """Adds the derivative of a penalty to the gradient of every weight that signals go back through.

    The first block's weight has a part where it is square; columns that are not used have none.

    Args:
        coefficient: λ, in units of the mean loss; 0 for none.
        penalty: see `orthogonality_gradient`.
        every: the derivative is computed at every so many calls.
        held: what comes of it. Without, it has so many times the weight at that call, and is nothing at the others.
            With, it is added at every call until it is computed anew; so that Adam, whose steps shrink after rare
            large gradients, moves as if it were computed at every call.
        chain: the blocks, for their shapes.

    Raises:
        UserMistake: ``every`` or ``held`` without anything for them to do.

    Attributes:
        held: for every block with a part, the derivative that is held; empty where none is.
    """

    def __init__(
        self, coefficient: float, penalty: Penalty, every: int, held: bool, chain: Sequence[Block]
    ) -> None:
        super().__init__()
        if coefficient == 0 and (every > 1 or held):
            raise UserMistake(
                "penalty_every and penalty_held go with a penalty: give an orthogonality above 0"
            )
        if held and every == 1:
            raise UserMistake(
                "penalty_held goes with a penalty_every above 1: there is nothing between the calls"
            )
        self._coefficient, self._every = coefficient, every
        self._penalty: Penalty = penalty
        self._calls = 0
        self._holds = held and coefficient > 0 and every > 1
        blank = {f"{b.name}.weight": torch.zeros_like(narrowed(b.opening, None)) for b in _taught(chain)}
        self.held = WeightTable(blank if self._holds else {})

    def roots(self, chain: list[Block], used: Mapping[str, int | None]) -> Iterator[tuple[Tensor, Tensor]]:
        """Weights and what each is told of the penalty, where it is due.

        Args:
            chain: the blocks.
            used: block name to how many of its outputs are used, None or nothing for all.
        """
        self._calls += 1
        is_due = self._calls % self._every == (1 if self._holds else 0)
        if not self._coefficient:
            return
        for block in _taught(chain):
            weight: Tensor = block.opening.weight  # pyright: ignore[reportAssignmentType]
            derivative = self._now(block, used.get(block.name), is_due)
            if weight.requires_grad and derivative is not None:
                yield weight, derivative

    def _now(self, block: Block, used: int | None, is_due: bool) -> Tensor | None:
        """λ times what the block's weight is told at this call."""
        if not self._holds:
            return self._coefficient * self._every * self._derivative(block, used) if is_due else None
        held = self.held[f"{block.name}.weight"]
        if is_due:
            held.copy_(self._derivative(block, used))
        return self._coefficient * held

    def get_extra_state(self) -> Tensor:
        """Calls so far, a scalar int64."""
        return torch.tensor(self._calls)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from the state of `get_extra_state`."""
        self._calls = int(state)

    @torch.no_grad()
    def _derivative(self, block: Block, used: int | None) -> Tensor:
        layer, part = block.opening, narrowed(block.opening, used)
        with torch.autocast(part.device.type, enabled=False):  # G is near I: its error is what counts
            gradient = as_weight(layer, orthogonality_gradient(as_matrices(layer, part), self._penalty), part)
        whole = torch.zeros_like(narrowed(layer, None))
        (whole[..., :used] if isinstance(layer, LocallyConnected2d) else whole[:used]).copy_(gradient)
        return whole


def orthogonality_gradient(W: Tensor, penalty: Penalty) -> Tensor:
    r"""Derivative of an orthogonality penalty by W, ``(…, fan_in, out)``.

    With the Gram matrix :math:`G = W W^T` (or :math:`W^T W` where that is the smaller one):
    ``off-diagonal`` is that of :math:`\sum_{i \ne j} G_{ij}^2`, which leaves the norms of rows free (Ahmad et al.
    2020); ``full`` that of :math:`\|G - I\|_F^2` (Dalm et al. 2023).

    Args:
        W: matrices.
        penalty: which.
    """
    is_tall = W.shape[-2] > W.shape[-1]
    G = W.mT @ W if is_tall else W @ W.mT
    diagonal = G.diagonal(dim1=-2, dim2=-1)
    if penalty == "full":
        diagonal.sub_(1)
    else:
        diagonal.zero_()
    return 4 * (W @ G if is_tall else G @ W)


def _taught(chain: Sequence[Block]) -> Sequence[Block]:
    return chain[0 if _is_square(chain[0]) else 1 :]


def _is_square(block: Block) -> bool:
    if not has_matrices(block.opening):
        return False
    rows, columns = as_matrices(block.opening, narrowed(block.opening, None)).shape[-2:]
    return rows == columns
