"""What a filter of its own at every position costs: locally connected layers beside shared-weight convolutions."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from biograd.bench.limits import Limit
from biograd.bench.rows import row
from biograd.bench.timing import Step, Timed, compare, quiet_process
from biograd.errors import UserMistake
from biograd.layers import LocallyConnected2d
from biograd.records import BenchRow, BenchSubject

NAME = "locally-connected"
BATCH = 128
REPEATS = 20
"""Turns a layer unless told otherwise."""
LIMIT = Limit(at_most=1.6, aim=1.3)
"""Of forward and backward together, beside the convolution of the same shape."""

LAYERS = {
    "5x5-64-s2": (3, 64, 5, 2, 32),
    "5x5-128-s2": (64, 128, 5, 2, 16),
    "3x3-256-s1": (128, 256, 3, 1, 8),
}
"""The CIFAR layers of Bartunov et al. 2018: channels in and out, kernel, stride, height and width of the input."""


def measure(repeats: int, seed: int, threads: int = 1) -> list[BenchRow]:
    """Time forward and backward of each layer, and of the chain of all with tanh between.

    A step empties the gradients, maps 128 examples and sends one gradient back: to the weights and, but for
    the first layer, to the input. Input and gradient lie in memory as they do within a chain of such layers.
    Each step runs right before or after its convolution, in random order.

    Args:
        repeats: pairs a layer, at least 1.
        seed: of weights, data and order.
        threads: PyTorch's; the limit speaks of one.

    Returns:
        A row a layer, and one of the ``chain``, with the columns of `biograd.bench.run`: ``net`` is
        ``locally-connected`` and the layer, ``rule`` bp, the reference the convolution; there are no bytes.

    Raises:
        UserMistake: no repeats.
    """
    if repeats < 1:
        raise UserMistake(f"repeats must be at least 1, got {repeats}")
    with quiet_process(threads):
        torch.manual_seed(seed)
        own, shared = _steps(_local), _steps(_shared)
        return [
            row(
                _about(name, repeats),
                compare({name: Timed(own[name])}, shared[name], repeats=repeats, seed=seed)[name],
                limit=LIMIT,
            )
            for name in own
        ]


def _steps(make: Callable[[str], nn.Module]) -> dict[str, Step]:
    """A step for each layer, with the input that the layers below it give, and one for all."""
    first = x = torch.randn(BATCH, LAYERS["5x5-64-s2"][0], 32, 32)
    steps: dict[str, Step] = {}
    chain = nn.Sequential()
    for name in LAYERS:
        layer = make(name)
        steps[name] = _step(layer, x, needs_input=bool(chain))
        x = layer(x).tanh().detach()
        chain.extend([layer, nn.Tanh()])
    return {**steps, "chain": _step(chain, first, needs_input=False)}


def _step(net: nn.Module, x: Tensor, *, needs_input: bool) -> Step:
    x = x.detach().requires_grad_(needs_input)
    gradient = torch.randn_like(net(x))  # in memory as the output is

    def step() -> None:
        for tensor in (x, *net.parameters()):
            tensor.grad = None
        net(x).backward(gradient)

    return step


def _local(name: str) -> nn.Module:
    into, out, kernel, stride, size = LAYERS[name]
    return LocallyConnected2d(into, out, kernel, size, stride, padding=kernel // 2)


def _shared(name: str) -> nn.Module:
    into, out, kernel, stride, _ = LAYERS[name]
    return nn.Conv2d(into, out, kernel, stride, padding=kernel // 2)


def _about(name: str, repeats: int) -> BenchSubject:
    return {
        "benchmark": "locally_connected",
        "rule": "bp",
        "net": f"{NAME} {name}",
        "batch": BATCH,
        "threads": torch.get_num_threads(),
        "repeats": repeats,
    }
