"""The derivatives of one batch: all of them go to ``.grad`` at one time."""

import contextlib
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from biograd.credit.by_hand.unit import Trace
from biograd.credit.chain.handing_over import Gradients, hand_over
from biograd.credit.chain.parameter_hooks import without_parameter_hooks
from biograd.credit.graph import leaves_below
from biograd.credit.weighting import UNWEIGHTED, Weighting


class Root(NamedTuple):
    """What the backward begins at.

    Attributes:
        output: a tensor with a graph; None teaches nothing.
        derivative: by it, in its shape; None teaches nothing.
        has_examples: whether its rows are the examples of the batch, or of several copies of it behind one another.
        trace: where the output has no graph, what teaches it by hand.
        delta: by the drive, where that is known already.
        is_alone: whether graph and derivative are of no use to anybody else, so that gradients can be computed at once,
            the graph let go and the derivative overwritten.
    """

    output: Tensor | None
    derivative: Tensor | None
    has_examples: bool = True
    trace: Trace | None = None
    delta: Tensor | None = None
    is_alone: bool = False


class Ledger:
    """Derivatives by tensors with a graph, scaled, and gradients of parameters that were computed already.

    All of them are handed over at one time, in one backward where anything listens, so that hooks on parameters (that
    average gradients over processes, say) see each whole and once.

    Args:
        weighting: what scales the derivatives; nothing unless given.

    Example:
        >>> from torch import nn
        >>> w, ledger = nn.Parameter(torch.zeros(2)), Ledger()
        >>> ledger.add_gradients([w], [torch.ones(2)])
        >>> ledger.add(3 * w, torch.ones(2))
        >>> ledger.settle()
        >>> w.grad
        tensor([4., 4.])
    """

    def __init__(self, weighting: Weighting | None = None) -> None:
        self._weighting = UNWEIGHTED if weighting is None else weighting
        self._roots: list[tuple[Tensor, Tensor]] = []
        self._gradients: Gradients = {}
        self._new: set[int] = set()  # the keys of those whose memory is nobody else's

    def add(
        self,
        output: Tensor | None,
        derivative: Tensor | None,
        has_examples: bool = True,
        trace: Trace | None = None,
        delta: Tensor | None = None,
        is_alone: bool = False,
        importance: Tensor | None = None,
    ) -> None:
        """Let a tensor's graph learn from the derivative by it; no graph teaches nothing. See `Root`.

        Args:
            output: see `Root`.
            derivative: see `Root`.
            has_examples: see `Root`.
            trace: see `Root`.
            delta: see `Root`.
            is_alone: see `Root`.
            importance: of each example, ``(batch,)``, beside the weighting; None for 1.
        """
        if output is None or derivative is None or not (trace or output.requires_grad):
            return
        if has_examples:
            scaled = self._weighting.and_also(importance).of(derivative)
        else:
            scaled = self._weighting.of_all(derivative)
        if trace is None and is_alone:
            self._teach(output, scaled)
        elif trace is None:
            self._roots.append((output, scaled))
        elif any(parameter.requires_grad for parameter in trace.unit.parameters):
            if delta is None or scaled is not derivative:
                delta = trace.drive_signal(scaled, overwrites=is_alone)
            self.add_gradients(trace.unit.parameters, trace.gradients(delta), are_new=True)

    def extend(self, roots: Iterable[Root], importance: Tensor | None = None) -> None:
        """`add` each of them, or of pairs that stand for them, and let it go before the next one is asked for."""
        with _closed_at_the_end(roots) as waiting:
            for root in waiting:
                self.add(*root, importance=importance)
                del root

    def _teach(self, output: Tensor, derivative: Tensor) -> None:
        """Gradients of all that a graph reads, at once."""
        leaves = [output] if output.is_leaf else leaves_below(output)
        with without_parameter_hooks(leaves):
            self.add_gradients(leaves, torch.autograd.grad(output, leaves, derivative))

    def add_gradients(
        self, parameters: Sequence[Tensor], found: Sequence[Tensor | None], *, are_new: bool = False
    ) -> None:
        """Take gradients that were computed already, from scaled derivatives; None adds nothing.

        Gradients of a parameter that several blocks share add up. Where ``.grad`` is None it takes a gradient's memory
        over, without a copy.

        Args:
            parameters: leaves.
            found: the gradient of each.
            are_new: whether the memory of each is nobody else's, so that others may be added in it.
        """
        for parameter, gradient in zip(parameters, found, strict=True):
            if gradient is None or not parameter.requires_grad:
                continue
            key, before = id(parameter), self._gradients.get(id(parameter))
            if before is None:
                whole, is_new = gradient, are_new
            else:
                whole, is_new = _sum(before[1], gradient, key in self._new), True
            self._gradients[key] = parameter, whole
            if is_new:
                self._new.add(key)

    def settle(self) -> None:
        """Hand everything over."""
        handed_over = hand_over(self._gradients) if self._gradients else None
        roots = [root for root, _ in self._roots]
        signals: list[Tensor | None] = [signal for _, signal in self._roots]
        self._roots = []
        if handed_over is not None:
            roots, signals = [handed_over, *roots], [None, *signals]
        if roots:
            torch.autograd.backward(roots, signals)


def _sum(gradient: Tensor, other: Tensor, may_overwrite: bool) -> Tensor:
    return gradient.add_(other) if may_overwrite else gradient + other


def _closed_at_the_end(roots: Iterable[Root]) -> contextlib.AbstractContextManager[Iterable[Root]]:
    """A context after which nothing that a generator of roots opened (a mode, say) is left open."""
    return contextlib.closing(roots) if isinstance(roots, Generator) else contextlib.nullcontext(roots)
