"""Inverses that modules bring themselves: a method that gives the input for an output, as invertible nets have."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block
from biograd.credit.chain.passage import Passage
from biograd.credit.side_effects import without_side_effects
from biograd.credit.structures import outlined
from biograd.errors import UnsupportedNet, UserMistake

USUAL = "inverse"
"""What invertible nets call the method."""


def undoes_itself(block: Block, method: str | None) -> bool:
    """Whether a block opens at a module with a method of this name; at cut points it must be that module alone."""
    if method is None or not callable(getattr(block.opening, method, None)):
        return False
    return block.stretch is None or (not block.stretch.besides and block.holder[1] is block.opening)


def require_use_of(method: str | None, chain: Sequence[Block]) -> None:
    """Refuse the name of a method that no block above the first goes back by, or not every module that has it.

    Raises:
        UserMistake: there is no such block.
        UnsupportedNet: a named module has the method, and is not all of its block.
    """
    for block in chain[1:]:
        name, module = block.holder
        if method is None or undoes_itself(block, method) or not callable(getattr(module, method, None)):
            continue
        besides = block.stretch.besides if block.stretch else ""
        if besides:
            raise UnsupportedNet(
                f"{name!r} has the method {method!r} and is not all of its block, through which errors go back: there "
                f"is {besides} too; do that inside the module named before or behind, or leave undo out"
            )
        raise UnsupportedNet(
            f"{name!r} has the method {method!r}, and its block opens at the one layer inside it, {block.name!r}: make "
            f"{name!r} a part of an nn.Sequential, with inside='exact' and no blocks, or leave undo out"
        )
    if method is not None and not any(undoes_itself(block, method) for block in chain[1:]):
        raise UserMistake(
            f"undo names the method {method!r}, and no block above the first opens at a module that has it (at cut "
            "points, is such a module and nothing else): give such modules the method, or leave undo out"
        )


@contextmanager
def suggesting_undo(block: Block, method: str | None) -> Iterator[None]:
    """Add to what is refused inside that a block might undo itself, if the user named no method and it has one."""
    try:
        yield
    except UnsupportedNet as error:
        if method is not None or not undoes_itself(block, USUAL):
            raise
        raise UnsupportedNet(
            f"{error}. {block.name!r} has a method {USUAL!r}: where that gives its input for its output, write "
            f"undo={USUAL!r} (--rule.undo {USUAL})"
        ) from error


def undone(module: nn.Module, method: str, y: Tensor) -> Tensor:
    """The input that a module says it would give ``y`` for; buffers and random numbers stay as they are."""
    undo: Any = getattr(module, method)
    with without_side_effects([module], y.device):
        return undo(y.clone())  # it may overwrite what it is given


def carried_by_derivative(module: nn.Module, method: str, y: Tensor, delta: Tensor) -> Tensor:
    r"""The derivative of the inverse at ``y`` applied to a signal there, :math:`\delta J^{-1}` for the module's J."""
    with torch.enable_grad():
        both: Any = torch.autograd.functional.jvp(lambda output: undone(module, method, output), y, delta)
    return both[1]


def require_inverse(block: Block, method: str, passage: Passage) -> None:
    r"""Refuse a method that does not give a module's input back, to the square root of the precision.

    Raises:
        UnsupportedNet: :math:`\|g(f(x)) - x\| > \sqrt\varepsilon\,\|x\|` on this batch, or another shape.
    """
    x = passage.input.detach()
    back = undone(block.opening, method, passage.bare_drive())
    if not isinstance(back, Tensor) or back.shape != x.shape:
        came = tuple(back.shape) if isinstance(back, Tensor) else outlined(back)
        raise UnsupportedNet(
            f"{method!r} of {block.name!r} gives {came} for its output, and its input was "
            f"{tuple(x.shape)}: it must give the input back"
        )
    error = float(torch.linalg.vector_norm(back - x) / torch.linalg.vector_norm(x).clamp_min(1e-30))
    allowed = torch.finfo(x.dtype).eps ** 0.5
    if not error <= allowed:
        raise UnsupportedNet(
            f"{method!r} of {block.name!r} gives its input back with an error of {error:.0e} of it on this batch, and "
            f"{x.dtype} allows {allowed:.0e}: it must undo the module as it runs in training"
        )


def require_derivative(block: Block, method: str, passage: Passage) -> None:
    r"""Refuse a method whose derivative is not that of an inverse, as where it runs without recording gradients.

    Seen in the direction of the drive z: :math:`\langle J^T z, J^{-1} z\rangle = \|z\|^2` for the module's J.

    Raises:
        UnsupportedNet: it is not so.
    """
    x, z = passage.input.detach(), passage.bare_drive()
    e = carried_by_derivative(block.opening, method, z, z)
    with without_side_effects([block.opening], z.device):
        found: Any = torch.autograd.functional.vjp(block.opening, x, z)
    back: Tensor = found[1]
    off = (torch.sum(back * e) - z.square().sum()).abs()
    size = torch.linalg.vector_norm(back) * torch.linalg.vector_norm(e)
    if not off <= torch.finfo(x.dtype).eps ** 0.5 * size:
        raise UnsupportedNet(
            f"{method!r} of {block.name!r} gives its input back, and its derivative is not that of an inverse: errors "
            "go back through it, so it must run without torch.no_grad() and detach()"
        )
