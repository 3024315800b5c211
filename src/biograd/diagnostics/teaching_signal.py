"""What a rule tells each block of a batch, and how alike it is for other batches and at other steps."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit import unwrap
from biograd.credit.isolation import isolated
from biograd.credit.structures import copied, tensors_in
from biograd.diagnostics.activity import ends_of_blocks
from biograd.diagnostics.angle import angle
from biograd.rules.base import Loss, Rule


def teaching_signals(net: nn.Module, rule: Rule, x: Any, y: Any, loss_fn: Loss) -> dict[str, Tensor]:
    """The derivative that a rule gives the output of each block, ``(batch, …)``; see `activities` for blocks.

    Under backpropagation it is that of the loss; in general what the rule puts in its place. Cost: one forward and
    backward of the rule, and a copy of its state. Net, rule and random numbers are left as they were (see
    `biograd.diagnostics.updates`).

    Returns:
        Block name to signal, detached; of passes that reach a block one by one the sum. Blocks whose weights a rule
        fills in without a signal are left out.
    """
    net, rule = unwrap(net), copy.deepcopy(rule)
    with isolated(net, loss_fn, devices_of=x), torch.enable_grad(), _listening(ends_of_blocks(net)) as heard:
        taught_x, taught_y = copied((x, y))
        rule.assign_credit(net, taught_x, taught_y, loss_fn)
    return {name: _sum(signals) for name, signals in heard.items() if signals}


def stability_over_batches(signals: Mapping[str, Tensor]) -> dict[str, float]:
    """Cosine between the mean signals of the two halves of a batch, in float64.

    From `biograd.checks.CONSTANT` on the rule tells a block the same whatever the examples are: a drift, no credit.

    Args:
        signals: of `teaching_signals`.

    Returns:
        Block name to cosine; nan where a half has no direction, or there is one example.
    """
    return {name: _cosine(*_means_of_halves(signal)) for name, signal in signals.items()}


def stability_over_steps(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> dict[str, float]:
    """Cosine between the mean signals of two moments of training, in float64; see `stability_over_batches`.

    Args:
        before: the `mean_signals` of one moment.
        now: those of a later one.
    """
    return {
        name: _cosine(before[name], now[name])
        for name in now
        if name in before and before[name].shape == now[name].shape
    }


def mean_signals(signals: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean over the batch of each signal."""
    return {name: signal.mean(0) for name, signal in signals.items()}


@contextmanager
def _listening(ends: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """Fills a list a block with the derivatives by what it gives."""
    heard: dict[str, list[Tensor]] = {}
    handles = [
        module.register_forward_hook(_ear(heard.setdefault(name, []))) for name, module in ends.items()
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _ear(signals: list[Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def listen(_: nn.Module, __: Any, output: Any) -> None:
        first = next(tensors_in(output), None)
        if first is not None and first.requires_grad and first.dim():
            first.register_hook(lambda signal: signals.append(signal.detach()))

    return listen


def _sum(signals: list[Tensor]) -> Tensor:
    alike = [signal for signal in signals if signal.shape == signals[0].shape]
    return torch.stack(alike).sum(0)


def _means_of_halves(signal: Tensor) -> tuple[Tensor, Tensor]:
    half = len(signal) // 2
    return signal[:half].double().mean(0), signal[half : 2 * half].double().mean(0)


def _cosine(a: Tensor, b: Tensor) -> float:
    return math.cos(math.radians(angle(a, b)))
