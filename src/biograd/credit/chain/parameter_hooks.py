"""Hooks on parameters act once a batch: when gradients are handed over, not when they are computed on the way."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor


def without_parameter_hooks(parameters: Sequence[Tensor]) -> AbstractContextManager[None]:
    """A context in which `torch.autograd.grad` by parameters gives what autograd computes.

    It would run the hooks on them, which run again when a `biograd.credit.chain.ledger.Ledger` hands the gradients over
    to ``.grad``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> w = nn.Parameter(torch.ones(2))
        >>> handle = w.register_hook(lambda gradient: gradient / 2)
        >>> with without_parameter_hooks([w]):
        ...     torch.autograd.grad(w.sum(), [w])
        (tensor([1., 1.]),)
    """
    hooked = [parameter for parameter in parameters if parameter._backward_hooks]
    return _waiting(hooked) if hooked else _NOTHING


_NOTHING = nullcontext()


@contextmanager
def _waiting(parameters: Sequence[Tensor]) -> Iterator[None]:
    # Emptied, not replaced: autograd holds the mapping itself, beside hooks of other origins.
    mappings: list[dict[int, Any]] = [hooks for p in parameters if (hooks := p._backward_hooks) is not None]
    contents = [dict(hooks) for hooks in mappings]
    for hooks in mappings:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, content in zip(mappings, contents, strict=True):
            hooks.update(content)
