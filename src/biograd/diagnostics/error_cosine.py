"""The cosine between the errors that a rule sends below a layer and those of backpropagation, example by example."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit import unwrap
from biograd.credit.isolation import isolated
from biograd.credit.structures import called, copied
from biograd.rules.base import Loss, Rule


def error_cosines(net: nn.Module, rule: Rule, x: Any, y: Any, loss_fn: Loss) -> dict[str, float]:
    r"""Mean over the batch of the cosine between the error that arrives below a layer and backpropagation's.

    .. math:: \frac1N \sum_i \cos\angle\big(\delta_i,\ \delta^{BP}_i\big)

    with :math:`\delta` the derivative that arrives at the layer's input: in a net with one hidden layer and the output
    g, :math:`\delta = gB` and :math:`\delta^{BP} = gW_2` (the alignment of Song, Xu & Lafferty 2021). In [-1, 1]; 1 is
    backpropagation, 0 is unrelated. Unlike the angle between updates it is not weighted by how large an example's error
    is.

    Cost: one forward and backward of the rule and one of backpropagation. Net, rule and random numbers are left as they
    were (see `biograd.diagnostics.updates`).

    Args:
        net: the net the rule was made for.
        rule: any rule.
        x: a batch of inputs, ``(batch, …)``.
        y: its labels.
        loss_fn: a differentiable scalar loss.

    Returns:
        Name of the weight that the error came back through, of a layer with several its first, to the mean over the
        examples that have an error in both, in float64; nan where none has. The first layer's is left out: its error
        goes nowhere. Empty for rules without feedback weights (`Rule.feedback_matrices`).
    """
    if rule.feedback_matrices is None:
        return {}
    net, rule, drawing = unwrap(net), copy.deepcopy(rule), copy.deepcopy(rule)
    assert drawing.feedback_matrices is not None
    names = list(drawing.feedback_matrices(net))  # should it draw, this copy draws
    sent = _errors(net, names, loss_fn, lambda x, y: rule.assign_credit(net, x, y, loss_fn), x, y)
    reference = _errors(net, names, loss_fn, lambda x, y: loss_fn(called(net, x), y).backward(), x, y)
    return {name: _mean_cosine(sent[name], reference[name]) for name in sent if name in reference}


def _errors(
    net: nn.Module, names: list[str], loss_fn: Any, teach: Callable[..., object], *batch: Any
) -> dict[str, Tensor]:
    """The derivative at each layer's input, ``(batch · uses, …)``, by the name of the layer's weight."""
    with isolated(net, loss_fn, devices_of=batch[0]), torch.enable_grad(), _listening(net, names) as heard:
        teach(*copied(batch))
    return {
        name: torch.cat([error.flatten(1) for error in errors]) for name, errors in heard.items() if errors
    }


@contextmanager
def _listening(net: nn.Module, names: list[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Fills a list a layer, by the name of its first weight, with the errors that arrive at its inputs."""
    first_of: dict[str, str] = {}
    for name in names:
        first_of.setdefault(name.rpartition(".")[0], name)
    heard: dict[str, list[Tensor]] = {name: [] for name in first_of.values()}
    handles = [
        net.get_submodule(layer).register_forward_pre_hook(_ear(heard[name]))
        for layer, name in first_of.items()
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _ear(errors: list[Tensor]) -> Callable[[nn.Module, Any], None]:
    def listen(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].requires_grad:
            inputs[0].register_hook(lambda error: errors.append(error.detach()))

    return listen


def _mean_cosine(a: Tensor, b: Tensor) -> float:
    """Over rows, in float64; rows without a direction are left out."""
    a, b = (_directions(one.double()) for one in (a, b))
    cosines = (a * b).sum(1)
    defined = cosines[cosines.isfinite()]
    return defined.mean().item() if len(defined) else math.nan


def _directions(rows: Tensor) -> Tensor:
    scaled = rows / rows.abs().amax(1, keepdim=True)  # so that no square underflows
    return scaled / scaled.norm(dim=1, keepdim=True)
