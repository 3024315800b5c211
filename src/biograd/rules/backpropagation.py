"""Backpropagation through the rule interface: the reference beside every other rule."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from biograd.credit.loss_roots import loss_roots
from biograd.credit.weighting import Weight
from biograd.rules.base import Credit, ErrorWeights, Family, Loss, Rule


class Backpropagation(Rule):
    r"""Exact gradient, :math:`\delta_l = (W_{l+1}^\top \delta_{l+1}) \circ \varphi'(a_l)`.

    Teaches any net. Reference: Rumelhart, Hinton & Williams 1986.
    """

    family: ClassVar[Family] = "backpropagation"
    error_weights: ClassVar[ErrorWeights] = "all"

    def __init__(self, net: nn.Module, sample: Tensor | None = None) -> None:
        super().__init__()

    def assign_credit(
        self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss, *, weight: Weight = None
    ) -> Credit:
        """Run ``(weight * loss_fn(net(x), y)).backward()``."""
        weighting = self.entry.begin(self, net, x, weight)
        output = net(x)
        self.entry.look(self, output, y, loss_fn)
        loss, roots, derivatives = loss_roots(output, y, loss_fn, weighting)
        # δ_l = (W_{l+1}ᵀ δ_{l+1}) ∘ φ'(a_l)
        torch.autograd.backward(roots, derivatives)
        return Credit(loss.detach(), output.detach())

    def carry_to_input(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Tensor:
        """See `Rule.input_gradient`: the true one."""
        loss = loss_fn(net(x.requires_grad_().clone()), y)
        return torch.autograd.grad(loss, x, materialize_grads=True)[0]
