"""Which weight matrices of a net are hidden: errors pass them on their way to what learns below."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from biograd.credit.eager import eagerly
from biograd.credit.feedback.unrolled import UNROLLED
from biograd.credit.isolation import isolated
from biograd.credit.kinds import WRITTEN_OUT
from biograd.credit.products import is_product
from biograd.credit.structures import called, copied, tensors_in
from biograd.credit.wrappers import unwrap


def hidden_matrices(net: nn.Module, x: Any) -> set[str]:
    """Names of the matrices through which errors travel on, but for those that make the output.

    A matrix that multiplies the input itself is not hidden, as nothing learns below it; nor is one behind which no
    other matrix comes. Embeddings are looked up, no error travels through them. What is used several times is hidden
    where one of its uses is, and none makes the output.

    Args:
        net: any module, run once and left as it was.
        x: a batch of inputs.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
        >>> hidden_matrices(net, torch.ones(1, 4))
        {'2.weight'}
    """
    net = unwrap(net)
    with isolated(net, devices_of=x), torch.enable_grad(), eagerly():
        for stand_in in net.parameters():
            if stand_in.is_floating_point():
                stand_in.requires_grad_()  # frozen ones are hidden or not as the others are
        with _Look(net) as look:
            output = called(net, copied(x))
        last = {name for tensor in tensors_in(output) for name in look.nearest(tensor)}
    return look.passed - last


@contextmanager
def still(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let parameters be as frozen ones inside the context: errors travel through them, and they receive none."""
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_()


@contextmanager
def dropped(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Take away what parameters receive inside the context, for nets whose wrapper waits until they have it."""
    kept = [
        (parameter, None if parameter.grad is None else parameter.grad.clone()) for parameter in parameters
    ]
    try:
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient


class _Look(TorchFunctionMode):
    """Records what passes through which matrix.

    Attributes:
        passed: names of those that multiply what was computed of something that learns.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.passed: set[str] = set()
        named = net.named_parameters()
        # what is a weight, or is computed of weights alone, with the names of the matrices among them
        self._weights: dict[Tensor, frozenset[str]] = {
            p: frozenset([name] * (p.dim() >= 2)) for name, p in named
        }
        self._weights |= {buffer: frozenset() for buffer in net.buffers()}
        # an activation, with the last matrices on the ways to it
        self._nearest = WeakTensorKeyDictionary()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let the function run, and see what went in."""
        kwargs = kwargs or {}
        if func in WRITTEN_OUT:
            with self:  # which sees its products, step by step
                return WRITTEN_OUT[func](*args, **kwargs).run(F.linear)
        if func in UNROLLED:
            with self:
                return UNROLLED[func](*args, **kwargs)
        given = list(tensors_in((args, kwargs)))
        names = frozenset(name for tensor in given for name in self._weights.get(tensor, ()))
        active = [tensor for tensor in given if tensor not in self._weights]
        carries = any(tensor.requires_grad for tensor in active)  # before it runs: it may be in place
        result = func(*args, **kwargs)
        if given and not active:
            self._weights.update((made, names) for made in tensors_in(result))
            return result
        is_through_matrices = names and is_product(func)
        nearest = (
            names if is_through_matrices else frozenset(n for tensor in active for n in self.nearest(tensor))
        )
        self._nearest.update((made, nearest) for made in tensors_in(result))
        if is_through_matrices and carries:
            self.passed |= names
        return result

    def nearest(self, activation: Tensor) -> frozenset[str]:
        """The last matrices on the ways to an activation."""
        return self._nearest.get(activation) or frozenset()
