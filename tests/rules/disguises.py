"""A net of three blocks in several disguises: run as a module it prints what each rule makes of each.

python -m tests.rules.disguises
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biograd import UnsupportedNet, rules
from biograd.credit import blocks


class Wrapped(nn.Module):
    """Layers in a forward of their own."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Unit(Wrapped):
    """A residual unit."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def _hooked(layers: Sequence[nn.Module]) -> nn.Module:
    nested = nn.Sequential(*layers)
    nested.register_forward_hook(lambda *_: None)  # a logger, say
    return nested


def _parts(net: nn.Module) -> list[list[nn.Module]]:
    """The layers of the three blocks."""
    return [list(block.layers) for block in blocks(net)]


def _split(net: nn.Module) -> nn.Module:
    first, second, last = _parts(net)
    return nn.Sequential(Wrapped([*first, *second]), Wrapped(last))


def _nested(net: nn.Module) -> nn.Module:
    first, second, last = _parts(net)
    return nn.Sequential(_hooked([*first, *second]), *last)


def _residual(net: nn.Module) -> nn.Module:
    first, second, last = _parts(net)
    return nn.Sequential(*first, Unit([*second, *copy.deepcopy(second)]), *last)


DISGUISES: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "plain": lambda net: net,
    "wrapped": lambda net: nn.Sequential(Wrapped(list(net))),
    "split": _split,
    "nested with a hook": _nested,
    "residual units": _residual,
    "compiled": lambda net: torch.compile(net, backend="eager"),  # pyright: ignore[reportReturnType]
    "data parallel": nn.parallel.DistributedDataParallel,
}


class Outcome(NamedTuple):
    """What a rule made of a net.

    Attributes:
        refusal: what it said, None where it taught the net.
        taught: the gradient of each parameter, zeros for none.
        exact: backpropagation's.
    """

    refusal: str | None
    taught: list[Tensor]
    exact: list[Tensor]

    @property
    def cosine(self) -> float:
        """Of the hidden layers' update to backpropagation's; nan where they are not taught."""
        taught, exact = (
            torch.cat([gradient.flatten() for gradient in gradients[:-2]])
            for gradients in (self.taught, self.exact)
        )
        return float(F.cosine_similarity(taught, exact, dim=0)) if taught.any() else math.nan

    @property
    def is_backpropagation(self) -> bool:
        """Bit for bit."""
        return all(map(torch.equal, self.taught, self.exact))


def outcome(rule: str, disguise: str, **settings: Any) -> Outcome:
    """What a rule makes of the net of three blocks that it declares, in a disguise; in float64."""
    task = rules.REGISTRY.find(rule).examples.tasks["mlp"]
    torch.manual_seed(0)
    net, (x, y) = DISGUISES[disguise](task.net().double()), task.batch(8, 0)  # pyright: ignore[reportArgumentType]
    x = x.double()
    task.loss_fn(net(x), y).backward()
    exact = _taken(net)
    try:
        rules.create(rule, net, sample=x[:1], **settings).assign_credit(net, x, y, task.loss_fn)
    except UnsupportedNet as refusal:
        return Outcome(str(refusal), [], exact)
    return Outcome(None, _taken(net), exact)


def _taken(net: nn.Module) -> list[Tensor]:
    """The gradients of a net, which are empty afterwards."""
    taken = [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]
    net.zero_grad()
    return taken


@contextmanager
def one_process() -> Iterator[None]:
    """A group of this process alone, for `DistributedDataParallel`."""
    store = torch.distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _print() -> None:
    with one_process():
        print("| rule |", " | ".join(DISGUISES), "|")
        print("|---" * (len(DISGUISES) + 1) + "|")
        for rule in rules.names():
            cells = [outcome(rule, disguise) for disguise in DISGUISES]
            said = ["refused" if cell.refusal else f"{cell.cosine:.3f}" for cell in cells]
            print(f"| {rule} |", " | ".join(said), "|")


if __name__ == "__main__":
    _print()
