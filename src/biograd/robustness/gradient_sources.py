"""Where an attack's gradient comes from: the forward pass itself, or the rule's own feedback."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biograd.robustness.scores import margins
from biograd.rules.base import Rule

Predict = Callable[[Tensor], Tensor]
"""Inputs ``(batch, …)`` to logits ``(batch, classes)``."""

Gradient = Callable[[Tensor, Tensor], Tensor]
"""Inputs and their classes ``(batch,)`` to the direction in which each example's loss grows, as the inputs."""


def true_gradient(predict: Predict) -> Gradient:
    r"""Autograd through the forward model: :math:`\partial\mathcal{L}_b/\partial x_b` of the cross-entropy.

    Each example has the gradient of its own loss: the loss is summed, not averaged, over the batch.
    """

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            loss = F.cross_entropy(predict(x), y, reduction="sum")
            return torch.autograd.grad(loss, x, materialize_grads=True)[0]

    return gradient


def margin_gradient(predict: Predict) -> Gradient:
    """Autograd through the forward model: of the largest other logit less the right one.

    Where an answer is so sure that the cross-entropy is flat to rounding, it is not.
    """

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(-margins(predict(x), y).sum(), x, materialize_grads=True)[0]

    return gradient


def rule_gradient(rule: Rule, net: nn.Module, prepare: Callable[[Tensor], Tensor] = lambda x: x) -> Gradient:
    """The rule's own feedback path: `biograd.Rule.input_gradient` of the cross-entropy.

    Args:
        rule: made for the net.
        net: in evaluation mode.
        prepare: from the inputs that are attacked to those of the net; it may shift and stretch each value by a
            positive factor, which changes no sign.
    """
    return lambda x, y: rule.input_gradient(net, prepare(x), y, F.cross_entropy).to(x.dtype)
