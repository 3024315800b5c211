"""Learning-rate schedules: PyTorch's own, stepped once a step or once an epoch."""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Le
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR

from biograd.errors import UserMistake
from biograd.registry import Registry
from biograd.settings import validate

Interval = Literal["epoch", "step"]

REGISTRY = Registry(
    "schedule",
    {name: f"biograd.training.schedules:{name}" for name in ("none", "cosine", "step")},
    group="biograd.schedules",
)


class Schedule(NamedTuple):
    """A scheduler and when it moves.

    Attributes:
        scheduler: PyTorch's; its state resumes.
        interval: whether it moves after every optimiser step or after every epoch.
        mean_share: mean of the learning rate over the training, as a share of the rate at its start.
    """

    scheduler: LRScheduler
    interval: Interval
    mean_share: float


def names() -> list[str]:
    """The short names of every schedule."""
    return REGISTRY.names()


def create(name: str, optimizer: Optimizer, epochs: int, epoch_steps: int, **settings: Any) -> Schedule:
    """Make a schedule for a training of ``epochs`` epochs of ``epoch_steps`` steps.

    Raises:
        UserMistake: an unknown schedule or setting, or a value out of range.
    """
    constructor: Callable[..., Schedule] = REGISTRY.find(name)
    checked = validate(constructor, settings, f"schedule {name!r}")
    return constructor(optimizer, epochs, epoch_steps, **checked)


def none(optimizer: Optimizer, epochs: int, epoch_steps: int) -> Schedule:
    """The same rate throughout."""
    del epochs, epoch_steps
    return Schedule(ConstantLR(optimizer, factor=1.0), "epoch", mean_share=1.0)


def cosine(
    optimizer: Optimizer,
    epochs: int,
    epoch_steps: int,
    *,
    minimum: Annotated[float, Ge(0)] = 0.0,
    interval: Interval = "step",
) -> Schedule:
    r"""From the rate :math:`\eta` to ``minimum`` by half a cosine over the whole training.

    .. math:: \eta_t = \eta_{min} + (\eta - \eta_{min}) (1 + \cos(\pi t / T)) / 2

    Args:
        optimizer: whose rate it changes.
        epochs: length of the training.
        epoch_steps: steps an epoch.
        minimum: the rate at the end.
        interval: whether t counts epochs or steps.

    Raises:
        UserMistake: ``minimum`` is above the rate.
    """
    total = epochs * (epoch_steps if interval == "step" else 1)
    rate = max(float(group["lr"]) for group in optimizer.param_groups)
    if minimum > rate:
        raise UserMistake(
            f"schedule 'cosine': setting 'minimum' got {minimum}: expected at most the learning rate, {rate:g}"
        )
    floor = minimum / rate
    mean_share = floor + (1 - floor) * (1 + 1 / total) / 2  # the cosines of t = 0 … T − 1 add up to one
    return Schedule(CosineAnnealingLR(optimizer, T_max=total, eta_min=minimum), interval, mean_share)


def step(
    optimizer: Optimizer,
    epochs: int,
    epoch_steps: int,
    *,
    every: Annotated[int, Gt(0)] = 30,
    at: tuple[Annotated[int, Gt(0)], ...] = (),
    factor: Annotated[float, Gt(0), Le(1)] = 0.1,
    interval: Interval = "epoch",
) -> Schedule:
    """The rate times ``factor`` every so often.

    Args:
        optimizer: whose rate it changes.
        epochs: length of the training.
        epoch_steps: steps an epoch.
        every: how many epochs (or steps) lie between two cuts.
        at: the epochs (or steps) after which to cut, in place of ``every``.
        factor: what a cut multiplies the rate by.
        interval: whether ``every`` and ``at`` count epochs or steps.

    Raises:
        UserMistake: ``at`` does not increase, or lies after the end of the training.
    """
    total = epochs * (epoch_steps if interval == "step" else 1)
    if list(at) != sorted(set(at)) or (at and at[-1] >= total):
        raise UserMistake(
            f"schedule 'step': setting 'at' got {at}: expected increasing numbers below {total}, "
            f"the {interval}s of this training"
        )
    cuts = list(at) or list(range(every, total, every))
    mean_share = _mean_share(cuts, factor, total)
    if at:
        return Schedule(MultiStepLR(optimizer, milestones=cuts, gamma=factor), interval, mean_share)
    return Schedule(StepLR(optimizer, step_size=every, gamma=factor), interval, mean_share)


def _mean_share(cuts: list[int], factor: float, total: int) -> float:
    """Mean of a rate that starts at one and is multiplied by ``factor`` after each of the ``cuts``."""
    edges = [0, *cuts, total]
    return sum((end - start) * factor**k for k, (start, end) in enumerate(pairwise(edges))) / total
