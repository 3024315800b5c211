"""The derivative of a loss that is known: the cross-entropy of classes, without autograd."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as hooks_of_all

from biograd.credit.by_hand.unit import is_watched
from biograd.credit.loss_terms import IGNORED

aten: Any = torch.ops.aten
_MEAN = 1  # as operators name the reduction
_FUNCTION, _FORWARD = F.cross_entropy, nn.CrossEntropyLoss.forward  # others may be put in their places


def cross_entropy(output: Any, y: Any, loss_fn: Callable[..., Any]) -> tuple[Tensor, Tensor] | None:
    r"""The mean cross-entropy of labels, and its derivative by the output.

    .. math:: \partial\mathcal{L} / \partial o_b = (p_b - t_b) / B

    Both come from the operators that autograd itself would call, so that the bits are the same.

    Args:
        output: of the net, ``(batch, classes)``.
        y: class indices, ``(batch,)``.
        loss_fn: the loss, ``F.cross_entropy`` or an ``nn.CrossEntropyLoss`` without weights and smoothing.

    Returns:
        None where the loss is another one, or output and targets are, or what is in force asks for autograd.
    """
    ignored = _ignored_by(loss_fn)
    if ignored is None or not _are_plain(output, y) or _asks_for_autograd(output):
        return None
    with torch.no_grad():
        logarithms = torch.log_softmax(output, 1)
        loss, total = aten.nll_loss_forward.default(logarithms, y, None, _MEAN, ignored)
        derivative = aten.nll_loss_backward.default(
            loss.new_ones(()), logarithms, y, None, _MEAN, ignored, total
        )
        return loss, aten._log_softmax_backward_data.default(derivative, logarithms, 1, output.dtype)


def _ignored_by(loss_fn: Any) -> int | None:
    """The label that a mean cross-entropy passes over; None for any other loss."""
    if loss_fn is _FUNCTION:
        return IGNORED
    is_plain = (
        type(loss_fn) is nn.CrossEntropyLoss
        and loss_fn.weight is None
        and (loss_fn.reduction, loss_fn.label_smoothing) == ("mean", 0)
        and type(loss_fn).forward is _FORWARD
        and not is_watched(loss_fn)
        and not hooks_of_all._has_any_global_hook()
    )
    return loss_fn.ignore_index if is_plain else None


def _are_plain(output: Any, y: Any) -> bool:
    return (
        type(output) is type(y) is Tensor
        and output.dim() == 2
        and y.dim() == 1
        and y.dtype is torch.int64
        and len(y) == len(output)
        and output.is_floating_point()
        and output.device == y.device
    )


def _asks_for_autograd(output: Tensor) -> bool:
    """Whether what is in force changes, or sees, what autograd computes of an output."""
    return (
        torch.compiler.is_compiling()
        or torch.is_autocast_enabled(output.device.type)
        or torch.is_anomaly_enabled()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_function_stack() > 0
    )
