"""Hidden matrices keep their initial weights, all else learns: the baseline for rules that teach deep nets."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from biograd.credit.hidden_matrices import dropped, hidden_matrices, still
from biograd.credit.loss_roots import loss_roots
from biograd.credit.structures import as_leaves, called, detached, gradients_at, map_tensors
from biograd.credit.weighting import Weight
from biograd.credit.wrappers import data_parallel, refuse_sharded, unwrap
from biograd.errors import UnsupportedNet
from biograd.rules.base import Credit, ErrorWeights, Family, Loss, Rule


class Frozen(Rule):
    r"""Backpropagation with hidden matrices frozen: :math:`\Delta W_l = 0`, :math:`1 < l < L`.

    Errors are exact, and pass the frozen matrices: the first layer, the readout, embeddings, biases and normalisations
    learn what backpropagation teaches them. Hidden is a matrix through which errors travel on, and behind which another
    one comes (`biograd.credit.hidden_matrices.hidden_matrices`). Equals backpropagation where there is none, as in a
    net with one hidden layer.

    Args:
        net: any net.
        sample: not needed: the first call looks at what the net does.
    """

    family: ClassVar[Family] = "baseline"
    error_weights: ClassVar[ErrorWeights] = "all"
    takes_structures: ClassVar[bool] = True

    def __init__(self, net: nn.Module, sample: Tensor | None = None) -> None:
        super().__init__()
        refuse_sharded(net.parameters())
        self._hidden: set[str] | None = None

    def assign_credit(
        self, net: nn.Module, x: Any, y: Any, loss_fn: Loss, *, weight: Weight = None
    ) -> Credit:
        """See `Rule.assign_credit`."""
        weighting = self.entry.begin(self, net, x, weight)
        hidden = self._matrices(net, x)
        # ΔW_l = 0, 1 < l < L
        with still(hidden) if data_parallel(net) is None else dropped(hidden):
            output = called(net, x)
            self.entry.look(self, output, y, loss_fn)
            loss, roots, derivatives = loss_roots(output, y, loss_fn, weighting)
            credit = Credit(loss.detach(), detached(output))
            # δ_l = (W_{l+1}ᵀ δ_{l+1}) ∘ φ'(a_l)
            torch.autograd.backward(roots, derivatives)
        return credit

    def untaught(self, net: nn.Module, x: Any) -> set[str]:
        """See `Rule.untaught`: the hidden matrices."""
        return hidden_matrices(net, x)

    def carry_to_input(self, net: nn.Module, x: Any, y: Any, loss_fn: Loss) -> Any:
        """See `Rule.input_gradient`: the true one."""
        leaves = as_leaves(x)
        loss = loss_fn(called(net, map_tensors(Tensor.clone, x)), y)
        torch.autograd.backward(loss, inputs=leaves)
        return gradients_at(x)

    def _matrices(self, net: nn.Module, x: Any) -> list[nn.Parameter]:
        """The hidden matrices of the net of this call; the first one looks which these are."""
        found = dict(unwrap(net).named_parameters())
        refuse_sharded(found.values())
        if self._hidden is None:
            self._hidden = hidden_matrices(net, x)
        missing = sorted(self._hidden - found.keys())
        if missing:
            raise UnsupportedNet(
                f"the rule was used on another net, which had {missing[0]!r}: make one for each net"
            )
        return [found[name] for name in self._hidden]
