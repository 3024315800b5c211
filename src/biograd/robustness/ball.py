"""Where an attack may go: the box around each input, and the values that an input can have."""

import torch
from torch import Tensor

from biograd.errors import UserMistake


def into_ball(moved: Tensor, x: Tensor, epsilon: float, lower: float | None, upper: float | None) -> Tensor:
    r"""The point nearest to ``moved`` with :math:`\lVert x' - x\rVert_\infty \le \epsilon` within the bounds."""
    moved = torch.minimum(torch.maximum(moved, x - epsilon), x + epsilon)
    return moved if lower is None and upper is None else moved.clamp(lower, upper)


def check_ball(x: Tensor, epsilon: float, lower: float | None, upper: float | None) -> None:
    """Refuse what no attack can work with.

    Raises:
        UserMistake: ε is negative or not finite, or an input lies outside the bounds.
    """
    if not 0 <= epsilon < float("inf"):
        raise UserMistake(f"epsilon is a number ≥ 0, got {epsilon}")
    if not x.numel() or (lower is None and upper is None):
        return
    low, high = x.min().item(), x.max().item()
    if (lower is not None and low < lower) or (upper is not None and high > upper):
        raise UserMistake(
            f"the inputs lie in [{low:g}, {high:g}], outside the bounds [{lower}, {upper}]: give bounds in the units "
            "of the inputs"
        )
