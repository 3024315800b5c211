"""How far a rule's update points away from backpropagation's."""

from typing import Any

from torch import nn

from biograd.diagnostics.angle import angle
from biograd.diagnostics.updates import Updates, updates
from biograd.rules.base import Loss, Rule


def gradient_angles(net: nn.Module, rule: Rule, x: Any, y: Any, loss_fn: Loss) -> dict[str, float]:
    """Angle in degrees between the rule's update of each weight and backpropagation's, on the same batch.

    Below 90° the update descends the loss; 0° is backpropagation. See `biograd.diagnostics.updates` for
    what is measured, what it costs and what it leaves behind: nothing.

    Returns:
        Parameter name to angle. A weight that the rule does not teach has no entry; one whose update, or
        whose gradient, is zero or not finite has nan. Look at the norm of the reference too
        (`biograd.diagnostics.norms`): an angle to a gradient that has all but vanished says nothing
        (arXiv 2606.21126).

    Example:
        >>> import torch, biograd
        >>> from biograd.rules.backpropagation import Backpropagation
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> x, y = torch.ones(3, 4), torch.tensor([0, 1, 1])
        >>> gradient_angles(net, Backpropagation(net), x, y, nn.functional.cross_entropy)
        {'0.weight': 0.0, '2.weight': 0.0}
    """
    return angles_between(updates(net, rule, x, y, loss_fn))


def angles_between(found: Updates) -> dict[str, float]:
    """The angles of `gradient_angles`, from updates already at hand."""
    return {name: angle(found.taught[name], found.reference[name]) for name in found.shared()}
