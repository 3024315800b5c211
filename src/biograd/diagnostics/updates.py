"""The update of a rule and that of backpropagation on the same batch, net and rule left as they were."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from biograd.credit import unwrap
from biograd.credit.isolation import isolated
from biograd.credit.structures import called, copied
from biograd.rules.base import Loss, Rule


class Updates(NamedTuple):
    """Gradients by parameter name, of the weights alone; each in its weight's shape, detached.

    Attributes:
        taught: what the rule added to ``.grad``; a weight that it does not teach is left out.
        reference: what ``loss_fn(net(x), y).backward()`` adds; frozen and unused weights are left out.
    """

    taught: dict[str, Tensor]
    reference: dict[str, Tensor]

    def shared(self) -> list[str]:
        """Names of the weights that both teach, in the net's order."""
        return [name for name in self.reference if name in self.taught]


def updates(net: nn.Module, rule: Rule, x: Any, y: Any, loss_fn: Loss) -> Updates:
    """What ``rule`` and backpropagation would each teach ``net`` now, on this batch.

    Both run in the mode that the net is in (training or evaluation) and from the same state of the
    random number generators, so that dropout draws the same mask twice. Net, loss, rule and generators
    are left exactly as they were, also after an exception; parameter hooks and data-parallel wrappers
    are passed by, so that each process measures its own batch. Weights are the parameters with two or
    more dimensions that are not called ``bias``. Attributes that the net keeps outside its parameters and
    buffers and changes in place (a list that grows at each forward) are beyond what is restored.

    Cost: one forward and backward of the rule, one of backpropagation, and a copy of the rule's state.
    """
    rule = copy.deepcopy(rule)
    net = unwrap(net)

    reference = _gradients(net, loss_fn, lambda x, y: loss_fn(called(net, x), y).backward(), x, y)
    taught = _gradients(net, loss_fn, lambda x, y: rule.assign_credit(net, x, y, loss_fn), x, y)
    return Updates(taught, reference)


def _gradients(net: nn.Module, loss_fn: Any, teach: Callable[..., object], *batch: Any) -> dict[str, Tensor]:
    """Gradients that ``teach`` leaves. It gets a copy of the batch, which in-place layers may overwrite."""
    with isolated(net, loss_fn, devices_of=batch[0]), torch.enable_grad():
        teach(*copied(batch))
        taught = {
            name: parameter.grad for name, parameter in net.named_parameters() if is_weight(name, parameter)
        }
        return {name: grad.detach() for name, grad in taught.items() if grad is not None}


def is_weight(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a weight matrix, filter bank or embedding, and no bias or scale."""
    return parameter.dim() >= 2 and name.rpartition(".")[2] != "bias"
