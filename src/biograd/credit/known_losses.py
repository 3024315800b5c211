"""Whether a loss is a multiple of one that is known: some rules learn otherwise from it, without a word."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from biograd.credit.loss_terms import are_labels_of, importance, soft_targets, targets, terms_of

_OFF = 0.02
"""How far from 1 a factor may be."""


class Known(NamedTuple):
    """A loss that is known by its derivative.

    Attributes:
        name: of the known one.
        times: how many times that it is.
        is_customary: whether it is usually given this factor.
    """

    name: str
    times: float
    is_customary: bool


def has_labels(output: Tensor, y: Tensor) -> bool:
    """Whether targets are classes of the output, and there are enough of them to know a loss by."""
    found = [o for o, _ in _with_classes_first((output, y)) if are_labels_of(o, y) and o.shape[1] > 1]
    return len(output) > 1 and bool(found)


def known_loss(error: Tensor, output: Tensor, y: Tensor, loss_fn: Callable[..., Any]) -> Known | None:
    """Which known loss a loss is a multiple of, at an output; None for other losses.

    Args:
        error: the loss's derivative by the output.
        output: of the net, ``(batch, classes, …)`` or ``(batch, …, classes)``; of one example it shows nothing.
        y: the targets: labels, or numbers in the shape of the output.
        loss_fn: the loss.
    """
    if len(output) < 2 or output.dim() < 2:
        return None
    precise = output.dtype.itemsize >= 4
    error, output = error.detach().double(), output.detach().double()
    for o, e, t in _with_classes_first((output, error, y)):
        for name, derivative, customary in _known(o, t, loss_fn) if o.shape[1] > 1 else ():
            times = _ratio(e, derivative, 1e-3 if precise else _OFF)
            if times is not None:
                return Known(name, times, any(abs(times / one - 1) < _OFF for one in customary))
    return None


def _with_classes_first(given: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """An output, and all in its shape, read with its classes first and with them last: the loss shows which it is."""
    output, *_ = given
    if output.dim() < 3:
        return [given]
    return [given, tuple(t.movedim(-1, 1) if t.shape == output.shape else t for t in given)]


def _known(
    output: Tensor, y: Tensor, loss_fn: Callable[..., Any]
) -> Iterator[tuple[str, Tensor, tuple[float, ...]]]:
    """Known losses, their derivatives by the output, and the factors that they are customarily given."""
    t = _target(output, y, loss_fn)
    if t is None:
        return
    v = importance(y, len(output), output.dtype, loss_fn)
    counts, classes = (1 if v is None else v.unsqueeze(1)), output.shape[1]
    yield "the mean cross-entropy", counts * (output.softmax(1) - t) / (t.numel() / classes), (1.0,)
    yield "the mean negative log-likelihood", -counts * t / (t.numel() / classes), (1.0,)
    if output.dim() == 2:  # a squared error is summed or averaged over classes, halved or not
        yield "the mean squared error", 2 * (output - t) / len(t), (1.0, 0.5, 1 / classes, 0.5 / classes)


def _target(output: Tensor, y: Tensor, loss_fn: Callable[..., Any]) -> Tensor | None:
    terms = terms_of(loss_fn)
    if are_labels_of(output, y):
        return targets(y, output.shape[1], output.dtype, terms)
    if y.shape == output.shape:
        return soft_targets(y.to(output.dtype), terms)
    return None


def _ratio(a: Tensor, b: Tensor, tolerance: float) -> float | None:
    """How many times b is in a, None where they do not have one direction."""
    length = b.square().sum()
    times = (a * b).sum() / length if length else length
    apart = torch.linalg.vector_norm(a - times * b)
    return times.item() if length and apart <= tolerance * torch.linalg.vector_norm(a) else None
