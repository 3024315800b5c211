"""Backpropagation through the rule interface: the reference beside every other rule."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from biograd.credit.loss_roots import loss_roots
from biograd.credit.structures import as_leaves, called, detached, gradients_at, map_tensors
from biograd.credit.weighting import Weight
from biograd.rules.base import Credit, ErrorWeights, Family, Loss, Rule


class Backpropagation(Rule):
    r"""Exact gradient, :math:`\delta_l = (W_{l+1}^\top \delta_{l+1}) \circ \varphi'(a_l)`.

    Teaches any net. Reference: Rumelhart, Hinton & Williams 1986.
    """

    family: ClassVar[Family] = "backpropagation"
    error_weights: ClassVar[ErrorWeights] = "all"
    takes_structures: ClassVar[bool] = True

    def __init__(self, net: nn.Module, sample: Tensor | None = None) -> None:
        super().__init__()

    def assign_credit(
        self, net: nn.Module, x: Any, y: Any, loss_fn: Loss, *, weight: Weight = None
    ) -> Credit:
        """Run ``(weight * loss_fn(net(x), y)).backward()``."""
        weighting = self.entry.begin(self, net, x, weight)
        output = called(net, x)
        self.entry.look(self, output, y, loss_fn)
        loss, roots, derivatives = loss_roots(output, y, loss_fn, weighting)
        credit = Credit(loss.detach(), detached(output))
        # δ_l = (W_{l+1}ᵀ δ_{l+1}) ∘ φ'(a_l)
        torch.autograd.backward(roots, derivatives)
        return credit

    def carry_to_input(self, net: nn.Module, x: Any, y: Any, loss_fn: Loss) -> Any:
        """See `Rule.input_gradient`: the true one."""
        leaves = as_leaves(x)
        loss = loss_fn(called(net, map_tensors(Tensor.clone, x)), y)
        torch.autograd.backward(loss, inputs=leaves)
        return gradients_at(x)
