"""The losses that a run can be trained and judged by, each averaged over the batch."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from biograd.data.tasks import Task
from biograd.errors import UserMistake
from biograd.registry import Registry
from biograd.settings import validate
from biograd.tasks import AUTO, LOSSES, USUAL_LOSS

Loss = Callable[[Tensor, Tensor], Tensor]
"""``loss_fn(output, y)`` gives a scalar, the mean over the batch."""

REGISTRY = Registry(
    "loss",
    {name: f"biograd.training.losses:{name.replace('-', '_')}" for name in LOSSES},
    group="biograd.losses",
)


def names() -> list[str]:
    """The names of every loss."""
    return REGISTRY.names()


def check(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a loss, held against their ranges.

    Raises:
        UserMistake: an unknown loss or setting, or a value out of range.
    """
    if name == AUTO and settings:
        raise UserMistake(
            f"loss.{next(iter(settings))} needs a loss that it is of: name one of {', '.join(names())}"
        )
    return {} if name == AUTO else validate(REGISTRY.find(name), settings, f"loss {name!r}")


def resolved(name: str, task: Task) -> str:
    """The name of a loss, in place of `AUTO` the one that is usual for a task."""
    return USUAL_LOSS[task.kind] if name == AUTO else name


def create(name: str, task: Task, **settings: Any) -> Loss:
    """Make a loss for a task.

    Args:
        name: one of `names()`; or ``path/to/file.py:Name``: a function ``loss_fn(output, y, *, settings)``, a class
            whose instances are called so, or an instance, such as a loss of ``torch.nn``. Targets are what `Task`
            says, outputs what a net answers to them.
        task: what the targets are.
        **settings: keyword-only parameters.

    Raises:
        UserMistake: an unknown loss or setting, a value out of range, or a loss that is not for the task or has
            parameters that learn.
    """
    name = resolved(name, task)
    constructor, checked = REGISTRY.find(name), check(name, settings)
    if name not in REGISTRY.built_in():
        return _given(name, constructor, checked)
    if task.kind not in LOSSES[name]:
        fitting = ", ".join(loss for loss, kinds in LOSSES.items() if task.kind in kinds)
        raise UserMistake(
            f"loss {name!r} is for {' and '.join(LOSSES[name])}, and the task of the data is {task.kind}: use {fitting}"
        )
    return constructor(task, **checked)


def _given(name: str, found: Callable[..., Any], settings: dict[str, Any]) -> Loss:
    """A loss of the user's own."""
    is_to_be_made = inspect.isclass(found)
    loss = cast(Loss, found(**settings) if is_to_be_made else found)
    if not callable(loss):
        raise UserMistake(
            f"loss {name!r} makes a {type(loss).__name__}, expected what is called with (output, y)"
        )
    if isinstance(loss, nn.Module) and any(p.requires_grad for p in loss.parameters()):
        raise UserMistake(
            f"loss {name!r} has parameters that learn, which no optimiser moves: make them buffers"
        )
    return loss if is_to_be_made or not settings else functools.partial(loss, **settings)


Beta = Annotated[float, Gt(0)]


def cross_entropy(task: Task, *, label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0) -> Loss:
    """The mean cross-entropy with the softmax of the outputs, of examples or of tokens.

    Args:
        task: what the targets are.
        label_smoothing: how much of each label is spread over all classes.
    """
    loss = (
        functools.partial(F.cross_entropy, label_smoothing=label_smoothing)
        if label_smoothing
        else F.cross_entropy
    )
    return _OfEachToken(loss) if task.kind == "tokens" else loss


def nll(task: Task) -> Loss:
    """The mean negative log-likelihood, for nets whose outputs are logarithms of probabilities.

    Args:
        task: what the targets are.
    """
    return _OfEachToken(F.nll_loss) if task.kind == "tokens" else F.nll_loss


def multi_margin(task: Task, *, p: Literal[1, 2] = 1, margin: float = 1.0) -> Loss:
    """The mean of how far each other output comes within a margin of the right one.

    Args:
        task: what the targets are.
        p: the power of that distance.
        margin: the margin.
    """
    del task
    return functools.partial(F.multi_margin_loss, p=p, margin=margin)


def mse(task: Task) -> Loss:
    """The mean squared error over examples and outputs; a class is one-hot.

    Args:
        task: what the targets are.
    """
    return _of_numbers(F.mse_loss, task)


def l1(task: Task) -> Loss:
    """The mean absolute error over examples and outputs; a class is one-hot.

    Args:
        task: what the targets are.
    """
    return _of_numbers(F.l1_loss, task)


def smooth_l1(task: Task, *, beta: Beta = 1.0) -> Loss:
    """The mean absolute error, which is a squared one over 2β where it is below β; a class is one-hot.

    Args:
        task: what the targets are.
        beta: β.
    """
    return _of_numbers(functools.partial(F.smooth_l1_loss, beta=beta), task)


def huber(task: Task, *, delta: Beta = 1.0) -> Loss:
    """The mean of half the squared error, which goes on as a line where it is above δ; a class is one-hot.

    Args:
        task: what the targets are.
        delta: δ.
    """
    return _of_numbers(functools.partial(F.huber_loss, delta=delta), task)


def bce_with_logits(task: Task) -> Loss:
    """The mean binary cross-entropy with the sigmoid of each output; a class is one-hot.

    Args:
        task: what the targets are.
    """
    return _of_numbers(F.binary_cross_entropy_with_logits, task)


def squared_error(task: Task) -> Loss:
    """The squared distance of the outputs from the target, averaged over the batch; a class is one-hot.

    The sum over outputs is not divided by their number, as that of ``mse`` is.

    Args:
        task: what the targets are.
    """
    return squared_distance_to_label if task.kind == "classes" else _of_numbers(squared_distance, task)


def squared_distance_to_label(output: Tensor, y: Tensor) -> Tensor:
    r"""Squared distance of the output from the one-hot label, averaged over the batch of B examples.

    .. math:: L = \frac{1}{B} \sum_b \sum_k (o_{bk} - [y_b = k])^2

    Its derivative by an output is :math:`2 (o - [y = k]) / B`: the sum over classes is not divided by their
    number, as ``nn.functional.mse_loss`` would, nor halved. Outputs in half precision are summed in float32.

    Args:
        output: ``(batch, classes)``.
        y: the labels, ``(batch,)``, of any whole or boolean type.

    Example:
        >>> import torch
        >>> squared_distance_to_label(torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.tensor([0, 0]))
        tensor(2.)
    """
    wide = output if output.dtype.itemsize >= 4 else output.float()
    return (wide - F.one_hot(y.long(), wide.shape[1])).square().sum(1).mean()


def squared_distance(output: Tensor, t: Tensor) -> Tensor:
    """Squared distance of the output from a target of its shape: summed over the last axis, averaged over the others.

    Args:
        output: ``(batch, …, outputs)``.
        t: in the same shape.
    """
    wide = output if output.dtype.itemsize >= 4 else output.float()
    return (wide - t).square().sum(-1).mean()


@dataclass(frozen=True)
class _OfEachToken:
    """A loss of classes, of every token as of an example."""

    loss: Loss

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Of ``(batch, tokens, classes)`` and ``(batch, tokens)``."""
        return self.loss(output.flatten(0, 1), y.flatten())


@dataclass(frozen=True)
class _OfOneHot:
    """A loss of numbers, with classes as one-hot numbers."""

    loss: Loss

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Of ``(batch, …, classes)`` and ``(batch, …)``."""
        return self.loss(output, F.one_hot(y, output.shape[-1]).to(output.dtype))


def _of_numbers(loss: Loss, task: Task) -> Loss:
    return _OfOneHot(loss) if task.kind in ("classes", "tokens") else loss
