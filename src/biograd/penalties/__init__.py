"""What training adds to the gradient of a loss: penalties on weights, under any rule."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from biograd.errors import UserMistake
from biograd.registry import Registry
from biograd.settings import validate

if TYPE_CHECKING:
    from torch import nn

    from biograd.penalties.base import Penalty

REGISTRY = Registry(
    "penalty",
    {
        "none": "biograd.penalties.none:NoPenalty",
        "orthogonality": "biograd.penalties.orthogonality:Orthogonality",
        "decay": "biograd.penalties.decay:Decay",
    },
    group="biograd.penalties",
)


def names() -> list[str]:
    """The short names of every penalty, third-party ones included."""
    return REGISTRY.names()


def create(name: "str | Callable[..., Penalty]", net: "nn.Module", **settings: Any) -> "Penalty":
    """Make a penalty by its short name for a net.

    Args:
        name: one of `names()`, ``path/to/file.py:ClassName``, or the class itself.
        net: the net whose weights it is for; it is read, not changed or kept.
        **settings: the keyword-only parameters of the penalty.

    Raises:
        UserMistake: an unknown name or a bad setting.
        UnsupportedNet: the net has no weights for it.

    Example:
        >>> import torch, biograd
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        >>> rule = biograd.rules.create("fa", net, seed=1)
        >>> penalty = biograd.penalties.create("decay", net, strength=0.1, weights=("2.weight",))
        >>> x, y = torch.ones(3, 4), torch.tensor([0, 1, 1])
        >>> credit = rule.assign_credit(net, x, y, torch.nn.functional.cross_entropy)
        >>> penalty.add_gradient(net)
    """
    from biograd.penalties.base import Penalty

    constructor = REGISTRY.find(name)
    penalty = constructor(net, **validate(constructor, settings, REGISTRY.called(name)))
    if not isinstance(penalty, Penalty):
        raise UserMistake(
            f"{REGISTRY.called(name)} makes a {type(penalty).__name__}, expected a biograd.Penalty"
        )
    if any(True for _ in penalty.parameters()):
        raise UserMistake(
            f"{REGISTRY.called(name)} has parameters, which no optimiser would move: hold its state in buffers"
        )
    return penalty
