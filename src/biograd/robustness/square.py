"""The square attack: random search without any gradient, which no masking can mislead."""

import math
from bisect import bisect_right

import torch
from torch import Tensor

from biograd.errors import UserMistake
from biograd.robustness.ball import check_ball, into_ball
from biograd.robustness.gradient_sources import Predict
from biograd.robustness.scores import margins

_HALVINGS = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10 000, at which the share of an input that is changed at once is halved (the paper's)."""


@torch.no_grad()
def square(
    predict: Predict,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    lower: float | None = None,
    upper: float | None = None,
    *,
    queries: int = 500,
    share: float = 0.8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random search over squares of pixels, each pushed to the border of the ball; kept where the margin falls.

    The margin is the logit of the right class less the largest other. It begins with vertical stripes; then one square
    at a time, its place random, each channel at +ε or −ε, and smaller as the search goes on. Inputs without height and
    width have random sets of features in the place of squares. Examples that are misclassified are asked no further.

    Args:
        predict: the model; asked for logits alone.
        x: inputs ``(batch, channels, height, width)``, or ``(batch, features)``.
        y: their classes ``(batch,)``.
        epsilon: largest change of a value, in the units of ``x``, ≥ 0.
        lower: least value that an input can have; None for no bound.
        upper: largest value; None for no bound.
        queries: how often each example may be asked, ≥ 2.
        share: of the input that the first square covers, in (0, 1].
        generator: on the CPU; None for one seeded with 0.

    Returns:
        The attacked inputs, as ``x``; the margin of none is larger than before.

    Raises:
        UserMistake: ε is negative, inputs lie outside the bounds, or another number is out of its range.

    Reference:
        Andriushchenko et al.: Square attack, 2020 (arXiv 1912.00049).
    """
    check_ball(x, epsilon, lower, upper)
    if queries < 2 or not 0 < share <= 1:
        raise UserMistake(f"square takes queries ≥ 2 and a share in (0, 1], got {queries} and {share}")
    search = _Search(x if x.dim() == 4 else x.flatten(1), epsilon, generator)
    best, margin = x.clone(), margins(predict(x), y)
    unattacked = margin.clone()
    for query in range(1, queries):
        open_ = (margin >= 0).nonzero().squeeze(1)
        if not len(open_):
            break
        size = share * 0.5 ** bisect_right(_HALVINGS, query / queries * 10_000)
        proposed = search.stripes(open_) if query == 1 else search.square(open_, best[open_], size)
        tried = into_ball(proposed.view(-1, *x.shape[1:]), x[open_], epsilon, lower, upper)
        found = margins(predict(tried), y[open_])
        taken = (found < margin[open_]) | (query == 1)  # the search starts from the stripes, good or not
        best[open_[taken]], margin[open_[taken]] = tried[taken], found[taken]
    worse = (margin < unattacked).view(-1, *(1,) * (x.dim() - 1))
    return torch.where(worse, best, x)


class _Search:
    """Proposals of the search, before they are brought back into the bounds.

    Args:
        x: ``(batch, channels, height, width)`` or ``(batch, features)``.
        epsilon: ε.
        generator: of all draws, on the CPU, so that they are the same on every device.
    """

    def __init__(self, x: Tensor, epsilon: float, generator: torch.Generator | None) -> None:
        self._x, self._epsilon = x, epsilon
        self._generator = generator or torch.Generator().manual_seed(0)

    def stripes(self, chosen: Tensor) -> Tensor:
        """Columns of each channel at +ε or −ε; of inputs without height, each feature."""
        batch, *shape = self._x[chosen].shape
        if len(shape) == 3:
            shape[1] = 1
        return self._x[chosen] + self._signs(batch, *shape)

    def square(self, chosen: Tensor, best: Tensor, share: float) -> Tensor:
        """The best so far, with one square, or set of features, at +ε or −ε."""
        x = self._x[chosen]
        if x.dim() == 2:
            count = max(1, round(share * x.shape[1]))
            ranks = self._uniform(*x.shape).argsort(1).argsort(1)
            return torch.where(ranks < count, x + self._signs(*x.shape), best.flatten(1))
        batch, channels, height, width = x.shape
        side = min(max(1, round(math.sqrt(share * height * width))), height, width)
        rows, columns = self._window(batch, height, side), self._window(batch, width, side)
        inside = rows.view(batch, 1, height, 1) & columns.view(batch, 1, 1, width)
        return torch.where(inside, x + self._signs(batch, channels, 1, 1), best)

    def _window(self, batch: int, length: int, side: int) -> Tensor:
        """Which of the places lie in a window of this side, ``(batch, length)``."""
        first = (self._uniform(batch, 1) * (length - side + 1)).long()
        place = torch.arange(length, device=first.device)
        return (place >= first) & (place < first + side)

    def _signs(self, *shape: int) -> Tensor:
        """+ε or −ε."""
        return torch.where(self._uniform(*shape) < 0.5, -self._epsilon, self._epsilon).to(self._x.dtype)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator).to(self._x.device)
