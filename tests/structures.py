"""Nets that take and give structures of tensors, and one that gives the same numbers as one tensor."""

import dataclasses
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import biograd

Answers = namedtuple("Answers", "policy value")


@dataclasses.dataclass
class ModelOutput(OrderedDict):
    """A mapping whose items are its fields that are not None, kept in step as Hugging Face keeps those of its own."""

    logits: Any = None
    hidden: Any = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is not None:
                self[field.name] = getattr(self, field.name)

    def __setitem__(self, name: str, part: Any) -> None:
        super().__setitem__(name, part)
        super().__setattr__(name, part)

    def __setattr__(self, name: str, part: Any) -> None:
        if name in self.keys() and part is not None:
            super().__setitem__(name, part)
        super().__setattr__(name, part)

    def __reduce__(self) -> Any:
        made, _, *rest = super().__reduce__()
        return made, tuple(getattr(self, field.name) for field in dataclasses.fields(self)), *rest


@dataclasses.dataclass(frozen=True)
class Both:
    policy: Tensor
    value: Tensor
    steps: Tensor
    note: str = "as it is"


Give = Callable[[Tensor, Tensor, Tensor], Any]
GIVEN: dict[str, tuple[Give, Callable[[Any], tuple[Tensor, Tensor]]]] = {
    "tuple": (lambda p, v, n: (p, v), tuple),
    "named tuple": (lambda p, v, n: Answers(p, v), tuple),
    "list with None": (lambda p, v, n: [p, None, v], lambda o: (o[0], o[2])),
    "dict with whole numbers": (
        lambda p, v, n: {"policy": p, "value": v, "steps": n},
        lambda o: (o["policy"], o["value"]),
    ),
    "dataclass": (lambda p, v, n: Both(p, v, n), lambda o: (o.policy, o.value)),
    "model output": (
        lambda p, v, n: ModelOutput(logits=p, hidden=(n, {"value": [v]})),
        lambda o: (o["logits"], o.hidden[1]["value"][0]),
    ),
}
"""How a net gives its two heads, and where a loss finds them."""

TAKEN: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: x,
    "tuple": lambda x: (x[:, :5], x[:, 5:]),
    "dict with a text": lambda x: {"left": x[:, :5], "right": x[:, 5:], "text": "as it is"},
    "nested": lambda x: [{"left": x[:, :5]}, (x[:, 5:], None)],
    "inputs": lambda x: biograd.Inputs(x[:, :5], right=x[:, 5:], text="as it is"),
}
"""How a net takes its eight numbers."""


class Heads(nn.Module):
    """A body of two layers and two heads, beside which it gives whole numbers, and takes what `TAKEN` makes."""

    def __init__(self, give: Give) -> None:
        super().__init__()
        self.give = give
        self.body = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh())
        self.policy, self.value = nn.Linear(12, 4), nn.Linear(12, 1)

    def forward(self, x: Any = None, right: Any = None, text: str = "") -> Any:
        del text
        found = [*biograd.credit.structures.tensors_in((x, right))]
        h = self.body(torch.cat(found, 1))
        return self.give(self.policy(h), self.value(h), torch.arange(len(h)))


def heads(given: str) -> Heads:
    """The net that gives its heads in this way, always with the same weights."""
    torch.manual_seed(0)
    return Heads(GIVEN[given][0]).double()


def as_one_tensor() -> Heads:
    """The same net, which gives one tensor."""
    torch.manual_seed(0)
    return Heads(lambda policy, value, _: torch.cat([policy, value], 1)).double()


def loss_of(find: Callable[[Any], tuple[Tensor, Tensor]]) -> Callable[[Any, Any], Tensor]:
    """A loss of both heads, each a mean over the batch."""

    def loss(output: Any, y: Any) -> Tensor:
        policy, value = find(output)
        return F.cross_entropy(policy, y["action"]) + F.mse_loss(value.squeeze(1), y["return"])

    return loss


def split(output: Tensor) -> tuple[Tensor, Tensor]:
    """Both heads of the net that gives one tensor."""
    return output[:, :4], output[:, 4:]


def batch(size: int = 6) -> tuple[Tensor, dict[str, Tensor]]:
    """Inputs (size, 8), to be given by one of `TAKEN`, and targets."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(size, 8, generator=draw, dtype=torch.float64)
    y = {"action": torch.randint(4, (size,), generator=draw)}
    return x, {**y, "return": torch.randn(size, generator=draw, dtype=torch.float64)}


def without_cost(rows):
    """Rows of diagnostics but those of time and memory, which structures around tensors cost too."""
    return [row for row in rows if row["quantity"] not in ("kept_bytes", "peak_bytes", "seconds")]
