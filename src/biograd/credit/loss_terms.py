r"""What a cross-entropy says of labels beside their class: which do not count, how much each does, how sharp they are.

A rule whose hidden layers aim at the label does not see the loss, and reads these terms here. For every cross-entropy
averaged over B examples its derivative by the output is

.. math:: \partial\mathcal{L} / \partial o_b = v_b\,(p_b - t_b) / B

with the softmax p, the target t of `targets` and the importance v of `importance`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biograd.credit import late
from biograd.credit.structures import outlined
from biograd.errors import UserMistake

IGNORED = -100
"""The label that PyTorch's losses pass over unless told otherwise."""


class Terms(NamedTuple):
    """The settings of a cross-entropy.

    Attributes:
        class_weights: one a class, ``(classes,)``; None for 1.
        ignore_index: the label that does not count.
        label_smoothing: how much of each label is spread over all classes, in [0, 1).
    """

    class_weights: Tensor | None = None
    ignore_index: int = IGNORED
    label_smoothing: float = 0.0


PLAIN = Terms()
_FUNCTIONS = (F.cross_entropy, F.nll_loss)
_WEIGHTS = ("weight", "pos_weight")
_TOLERANCE = 1e-3
FEW = 1024
"""So many labels are looked through faster one by one than by operators."""


def terms_of(loss_fn: Callable[..., Any]) -> Terms:
    """The terms of ``nn.CrossEntropyLoss``, ``nn.NLLLoss`` and partial calls of their functions; of others, none.

    Raises:
        UserMistake: another loss of PyTorch's with weights, which such rules cannot honour.
    """
    if isinstance(loss_fn, nn.CrossEntropyLoss):
        return Terms(loss_fn.weight, loss_fn.ignore_index, loss_fn.label_smoothing)
    if isinstance(loss_fn, nn.NLLLoss):
        return Terms(loss_fn.weight, loss_fn.ignore_index)
    if isinstance(loss_fn, functools.partial) and loss_fn.func in _FUNCTIONS:
        given = loss_fn.keywords
        return Terms(
            given.get("weight"), given.get("ignore_index", IGNORED), given.get("label_smoothing", 0.0)
        )
    return PLAIN


def require_honoured(y: Any, loss_fn: Callable[..., Any]) -> None:
    """Refuse targets and weights that a rule cannot honour whose hidden layers see the label and not the loss.

    Raises:
        UserMistake: targets that are no single tensor; a weighted loss of PyTorch's that is no cross-entropy, or class
            weights of several labels an example; naming the setting.
    """
    if not isinstance(y, Tensor):
        raise UserMistake(
            f"hidden layers of the rule aim at the targets, which must be one tensor, and got {outlined(y)}: give one, "
            "or use a rule that follows the loss (dfa, dtp, or bp and others for any net)"
        )
    if not isinstance(loss_fn, nn.Module | functools.partial):
        return
    is_known = isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss | functools.partial)
    names = (
        [] if is_known else [name for name in _WEIGHTS if isinstance(getattr(loss_fn, name, None), Tensor)]
    )
    if is_known and terms_of(loss_fn).class_weights is not None and are_indices(y, len(y)) and y.dim() > 1:
        names = ["weight"]
    if names:
        raise UserMistake(
            f"the rule cannot honour {names[0]!r} of {type(loss_fn).__name__} on these targets: its hidden layers see "
            "the label, not the loss; leave it out, and give assign_credit(…, weight=) a number an example"
        )


def are_indices(y: Any, batch: int) -> bool:
    """Whether targets are labels, ``(batch, …)`` whole numbers."""
    return (
        isinstance(y, Tensor)
        and y.dim() > 0
        and len(y) == batch
        and not (y.is_floating_point() or y.is_complex())
    )


def are_labels_of(output: Tensor, y: Any) -> bool:
    """Whether targets are classes of an output ``(batch, classes, …)``, one for each example and place."""
    return are_indices(y, len(output)) and output.dim() > 1 and y.shape == output.shape[:1] + output.shape[2:]


def are_distributions(y: Tensor) -> bool:
    """Whether numbers ``(batch, classes, …)`` are shares that add up to 1; looking waits for the device."""
    is_off = ((y.sum(1) - 1).abs() > _TOLERANCE).any() | (y < 0).any()
    return not torch.logical_or(is_off, y.isnan().any())


def is_ignored(y: Tensor, terms: Terms) -> Tensor | None:
    """Which labels do not count, in the shape of y; None where it is known that all do."""
    is_read = late.is_read_at_once(y.device)
    if is_read and y.dim() == 1 and y.numel() <= FEW and terms.ignore_index not in y.tolist():
        return None
    if y.dtype in (torch.bool, torch.uint8):
        ignored = y == terms.ignore_index if terms.ignore_index >= 0 else None
    else:
        ignored = y == terms.ignore_index
    if ignored is not None and is_read and not ignored.any():
        return None
    return ignored


def targets(y: Tensor, classes: int, dtype: torch.dtype, terms: Terms, *, all_count: bool = False) -> Tensor:
    """Targets t as distributions, ``(batch, classes, …)``, of labels ``(batch, …)``; any one where ignored.

    Args:
        y: the labels.
        classes: how many.
        dtype: of t.
        terms: what the loss says of labels.
        all_count: whether it is known that none is ignored.
    """
    ignored = None if all_count else is_ignored(y, terms)
    y = y.long() if ignored is None else y.long().masked_fill(ignored, 0)
    try:
        t = F.one_hot(y, classes).movedim(-1, 1).to(dtype)
    except RuntimeError:
        raise _no_classes(classes) from None
    return t if not terms.label_smoothing else _sharpness(_parts(t, terms), t)[0]


def rows_of(table: Tensor, y: Tensor) -> Tensor:
    """What plain targets t of labels ``(batch,)``, which all count, take out of a table: ``t @ table``, without t.

    Args:
        table: ``(classes, …)``, on a device whose numbers can be read at once.
        y: the labels.
    """
    try:
        return table.index_select(0, y.long())
    except IndexError:
        raise _no_classes(len(table)) from None


def _no_classes(classes: int) -> UserMistake:
    return UserMistake(
        f"labels must be classes from 0 to {classes - 1}, or the one that the loss ignores, and some are not; a "
        "loss that ignores another label says so as nn.CrossEntropyLoss(ignore_index=…)"
    )


def soft_targets(y: Tensor, terms: Terms) -> Tensor:
    """T of targets that are distributions already."""
    if terms.class_weights is None and not terms.label_smoothing:
        return y
    return _sharpness(_parts(y, terms), y)[0]


def importance(y: Any, batch: int, dtype: torch.dtype, loss_fn: Callable[..., Any]) -> Tensor | None:
    r"""v, ``(batch, …)``: how much each label counts in the mean, 1 on average; None where all count alike.

    Args:
        y: the targets.
        batch: how many examples there are.
        dtype: of v, float32 at least.
        loss_fn: the loss.
    """
    terms = terms_of(loss_fn)
    dtype = dtype if dtype.itemsize >= 4 else torch.float32
    if are_indices(y, batch):
        return _importance_of_labels(y, dtype, terms)
    if terms.class_weights is None or not isinstance(y, Tensor) or not y.is_floating_point():
        return None
    return _parts(y.to(dtype), terms).sum(1)  # of soft labels the mean is over all of them


def by_example(v: Tensor | None, loss_fn: Callable[..., Any]) -> Tensor | None:
    """An `importance` as ``(batch,)``: of several labels an example, what each that counts has; else None."""
    if v is None or v.dim() == 1:
        return v
    return None if terms_of(loss_fn).class_weights is not None else v.amax().expand(len(v))


def counted(v: Tensor | None) -> Tensor | None:
    """Which examples count, ``(batch,)``: alike, 1 on average, where any of their labels does, else 0; None for all.

    Args:
        v: an `importance`.
    """
    if v is None:
        return None
    counts = (v > 0).flatten(1).any(1) if v.dim() > 1 else v > 0
    return _on_average_one(counts.to(v.dtype), counts.sum())


def _importance_of_labels(y: Tensor, dtype: torch.dtype, terms: Terms) -> Tensor | None:
    ignored = is_ignored(y, terms)
    if ignored is None and terms.class_weights is None:
        return None
    counts = total = torch.ones(y.shape, dtype=dtype, device=y.device)
    if terms.class_weights is not None:
        one_hot = targets(y, len(terms.class_weights), dtype, Terms(ignore_index=terms.ignore_index))
        total = (one_hot * _across(terms.class_weights, one_hot)).sum(1)
        counts = _parts(one_hot, terms).sum(1)
    if ignored is not None:
        counts, total = counts.masked_fill(ignored, 0), total.masked_fill(ignored, 0)
    return _on_average_one(counts, total.sum())


def _on_average_one(counts: Tensor, total: Tensor) -> Tensor:
    total = total.to(counts.dtype)
    return counts * torch.where(total > 0, counts.numel() / total, 0)


def _parts(t: Tensor, terms: Terms) -> Tensor:
    """The factors of −log p in the loss of each label, in the shape of t: smoothed and weighted, not yet normalised."""
    smoothed = t * (1 - terms.label_smoothing) + terms.label_smoothing / t.shape[1]
    return smoothed if terms.class_weights is None else smoothed * _across(terms.class_weights, t)


def _sharpness(parts: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
    """A target and its importance, of which the parts are the product; where that is 0, any target."""
    total = parts.sum(1, keepdim=True)
    return torch.where(total > 0, parts / total, plain), total


def _across(class_weights: Tensor, t: Tensor) -> Tensor:
    return class_weights.to(t).view(-1, *(1,) * (t.dim() - 2))
