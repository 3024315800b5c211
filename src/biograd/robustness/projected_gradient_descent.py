"""PGD: small steps along the sign of the gradient, kept within the ball, from a random start."""

import torch
import torch.nn.functional as F
from torch import Tensor

from biograd.errors import UserMistake
from biograd.robustness.ball import check_ball, into_ball
from biograd.robustness.gradient_sources import Gradient, Predict, true_gradient


def pgd(
    predict: Predict,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    lower: float | None = None,
    upper: float | None = None,
    *,
    gradient: Gradient | None = None,
    steps: int = 20,
    step_size: float | None = None,
    restarts: int = 1,
    start: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Projected gradient descent in the maximum norm.

    .. math:: x_{t+1} = \Pi\left(x_t + \alpha\,\mathrm{sign}(\partial\mathcal{L}/\partial x_t)\right)

    Π goes back into the ball of radius ε and the bounds. Of several restarts each example keeps the one with which
    it is misclassified, and else the one of the largest cross-entropy.

    Args:
        predict: the model.
        x: inputs ``(batch, …)``.
        y: their classes ``(batch,)``.
        epsilon: largest change of a value, in the units of ``x``, ≥ 0.
        lower: least value that an input can have; None for no bound.
        upper: largest value; None for no bound.
        gradient: where the gradient comes from; None for `true_gradient` of ``predict``.
        steps: how many, ≥ 1.
        step_size: α, in the units of ``x``; None for 2.5 ε / steps, with which every point of the ball can be reached.
        restarts: how many starts, ≥ 1.
        start: where to begin in place of a random point of the ball; for one start alone.
        generator: of the random starts, on the CPU; None for one seeded with 0.

    Returns:
        The attacked inputs, as ``x``.

    Raises:
        UserMistake: ε is negative, inputs lie outside the bounds, or another number is out of its range.

    Reference:
        Madry et al.: Towards deep learning models resistant to adversarial attacks, 2018 (arXiv 1706.06083).
    """
    check_ball(x, epsilon, lower, upper)
    if steps < 1 or restarts < 1 or (step_size is not None and not step_size > 0):
        raise UserMistake(
            f"pgd takes steps ≥ 1, restarts ≥ 1 and a step size > 0, got {steps}, {restarts} and {step_size}"
        )
    if start is not None and restarts > 1:
        raise UserMistake(f"a start goes with one restart, got {restarts}: leave one of them out")
    gradient, alpha = gradient or true_gradient(predict), step_size or 2.5 * epsilon / steps
    draw = generator or torch.Generator().manual_seed(0)
    best = None
    for _ in range(restarts):
        begin = x + epsilon * _noise(x, draw) if start is None else start
        found = into_ball(begin, x, epsilon, lower, upper)
        for _ in range(steps):
            found = into_ball(found + alpha * gradient(found, y).sign(), x, epsilon, lower, upper)
        best = found if best is None else _worse_for_the_model(predict, best, found, y)
    assert best is not None
    return best


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform in [−1, 1); the same on every device."""
    return (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1).to(x.device)


@torch.no_grad()
def _worse_for_the_model(predict: Predict, first: Tensor, second: Tensor, y: Tensor) -> Tensor:
    """Of two attacks, for each example the one that does more harm."""
    harms = [_harm(predict(attacked), y) for attacked in (first, second)]
    takes_second = (harms[1] > harms[0]).view(-1, *(1,) * (first.dim() - 1))
    return torch.where(takes_second, second, first)


def _harm(logits: Tensor, y: Tensor) -> Tensor:
    loss = F.cross_entropy(logits, y, reduction="none")
    return loss.masked_fill(logits.argmax(1) != y, torch.inf)
