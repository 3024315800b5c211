"""FGSM: one step of the full size along the sign of the gradient."""

from torch import Tensor

from biograd.robustness.ball import check_ball, into_ball
from biograd.robustness.gradient_sources import Gradient, Predict, true_gradient


def fgsm(
    predict: Predict,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    lower: float | None = None,
    upper: float | None = None,
    *,
    gradient: Gradient | None = None,
) -> Tensor:
    r"""The fast gradient sign method, :math:`x' = x + \epsilon\,\mathrm{sign}(\partial\mathcal{L}/\partial x)`.

    Args:
        predict: the model.
        x: inputs ``(batch, …)``.
        y: their classes ``(batch,)``.
        epsilon: largest change of a value, in the units of ``x``, ≥ 0.
        lower: least value that an input can have; None for no bound.
        upper: largest value; None for no bound.
        gradient: where the gradient comes from; None for `true_gradient` of ``predict``.

    Returns:
        The attacked inputs, as ``x``.

    Raises:
        UserMistake: ε is negative, or inputs lie outside the bounds.

    Reference:
        Goodfellow, Shlens & Szegedy: Explaining and harnessing adversarial examples, 2015 (arXiv 1412.6572).

    Example:
        >>> import torch
        >>> model = lambda x: torch.stack([x[:, 0], -x[:, 0]], 1)
        >>> fgsm(model, torch.tensor([[0.5, 0.5]]), torch.tensor([0]), 0.1)
        tensor([[0.4000, 0.5000]])
    """
    check_ball(x, epsilon, lower, upper)
    direction = (gradient or true_gradient(predict))(x, y).sign()
    return into_ball(x + epsilon * direction, x, epsilon, lower, upper)
