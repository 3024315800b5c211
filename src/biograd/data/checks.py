"""What data must be to be trained on, looked at once, when a set or its batches are made, so that no step has to."""

import math
import reprlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from biograd.errors import UserMistake

if TYPE_CHECKING:
    from biograd.data.dataset import DataSet, Preprocessing, Split

_DTYPES = (torch.uint8, torch.float32)


def check_split(split: "Split") -> None:
    """Refuse what is no examples with one class each.

    Raises:
        UserMistake: inputs or targets are no tensors of the types and shapes that `Split` names.
    """
    for name, value in (("inputs", split.inputs), ("targets", split.targets)):
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise UserMistake(f"{name} are {_kind(value)}, expected a dense torch.Tensor")
    inputs, targets = split.inputs, split.targets
    if targets.ndim != 1 or inputs.ndim < 1 or len(inputs) != len(targets):
        raise UserMistake(
            f"a split needs one target an example, got inputs {tuple(inputs.shape)} "
            f"and targets {tuple(targets.shape)}"
        )
    if targets.dtype != torch.int64:
        raise UserMistake(f"targets are {targets.dtype}, expected classes as torch.int64: use .long()")


def check_preprocessing(preprocessing: "Preprocessing") -> None:
    """Refuse numbers that no input can be prepared with.

    Raises:
        UserMistake: a mean or deviation is not finite, a deviation or the padding not positive.
    """
    for name in ("mean", "std"):
        numbers = getattr(preprocessing, name)
        if not isinstance(numbers, tuple | list) or not numbers or not all(map(_is_finite, numbers)):
            raise UserMistake(
                f"preprocessing has {reprlib.repr(numbers)} as {name}, expected a tuple of finite numbers"
            )
    padding = preprocessing.crop_padding
    if min(preprocessing.std) <= 0 or not isinstance(padding, int) or padding < 0:
        raise UserMistake(
            f"standard deviations are positive and padding not negative, got {reprlib.repr(preprocessing)}"
        )


def check_set(dataset: "DataSet") -> None:
    """Refuse a set that some step of a training could not take.

    Raises:
        UserMistake: it has fewer than two classes, parts that are empty or unlike, a label that is no class, or inputs
            that are not finite or do not fit their preprocessing; the line names the set, the part and the example.
    """
    classes, name = dataset.classes, dataset.name
    if isinstance(classes, str) or not all(isinstance(cls, str) for cls in classes):
        raise UserMistake(f"{name}: classes are {reprlib.repr(classes)}, expected a tuple of their names")
    if len(classes) < 2:
        raise UserMistake(f"{name} has {len(classes)} classes, expected at least 2 to tell apart")
    for part, split in (("training", dataset.train), ("test", dataset.test)):
        where = f"{name}, {part} part"
        if not len(split):
            raise UserMistake(f"{where}: it is empty, expected at least one example")
        check_values(split, where, len(classes))
        _check_alike(split.inputs, dataset.train.inputs, where)
        check_fit(split.inputs, dataset.preprocessing, where)


def check_values(split: "Split", where: str, classes: int | None = None) -> None:
    """Refuse labels that are no class and inputs that are not finite.

    Args:
        split: the examples, which may be none.
        where: what the message calls them.
        classes: how many there are; None where nobody says.

    Raises:
        UserMistake: there is such an example; the line names the first.
    """
    if not len(split):
        return
    lowest, highest = split.targets.aminmax()
    if lowest < 0 or (classes is not None and highest >= classes):
        wrong = split.targets < 0 if classes is None else (split.targets < 0) | (split.targets >= classes)
        first = int(wrong.nonzero()[0])
        expected = "0 or more" if classes is None else f"0 to {classes - 1}, one of its {classes} classes"
        raise UserMistake(
            f"{where}: the label of example {first} is {int(split.targets[first])}, expected {expected}"
        )
    if split.inputs.is_floating_point() and split.inputs.numel() and not _are_finite(split.inputs):
        first = int((~split.inputs.flatten(1).isfinite()).any(1).nonzero()[0])
        values = split.inputs[first].flatten()
        value = float(values[~values.isfinite()][0])
        raise UserMistake(f"{where}: an input of example {first} is {value}, expected finite numbers")


def check_fit(inputs: Tensor, preprocessing: "Preprocessing", where: str) -> None:
    """Refuse inputs that cannot be prepared so.

    Raises:
        UserMistake: another type or shape is needed.
    """
    shape = tuple(inputs.shape[1:])
    if inputs.dtype not in _DTYPES or not math.prod(shape) or not shape:
        raise UserMistake(
            f"{where}: inputs are (n, …) uint8 or float32, got {tuple(inputs.shape)} {inputs.dtype}"
        )
    for name, numbers in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if len(numbers) not in (1, shape[0]):
            raise UserMistake(
                f"{where}: preprocessing has {len(numbers)} numbers as {name} for inputs of shape {shape}"
            )
    if preprocessing.is_random and len(shape) != 3:
        raise UserMistake(
            f"{where}: crops and flips need images (channels, height, width), got inputs of shape {shape}"
        )


def _check_alike(inputs: Tensor, first: Tensor, where: str) -> None:
    """Refuse a part whose examples are unlike those of the training part: bytes beside numbers are scaled otherwise."""
    if inputs.shape[1:] != first.shape[1:] or inputs.dtype != first.dtype:
        raise UserMistake(
            f"{where}: an example is {tuple(inputs.shape[1:])} {inputs.dtype}, "
            f"in the training part {tuple(first.shape[1:])} {first.dtype}"
        )


def _are_finite(inputs: Tensor) -> bool:
    """One pass, without a mask as large as the set: what is not a number is both the least and the greatest."""
    least, greatest = inputs.aminmax()
    return bool(least.isfinite() & greatest.isfinite())


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 3e38


def _kind(value: Any) -> str:
    return f"a {value.layout} tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"
