"""What data must be to be trained on, looked at once, when a set or its batches are made, so that no step has to."""

import math
import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from biograd.data.columns import on_each, titles
from biograd.data.tasks import Task
from biograd.errors import UserMistake, brief, listed

if TYPE_CHECKING:
    from biograd.data.dataset import DataSet, Preprocessing, Split

_PREPARED = (torch.uint8, torch.float32)
_AS_THEY_ARE = (torch.int64, torch.bool)


def check_split(split: "Split") -> None:
    """Refuse what is no examples with targets.

    Raises:
        UserMistake: inputs or targets are no tensors, or not as many; or columns have no names.
    """
    inputs, targets = split.inputs, split.targets
    if isinstance(inputs, Mapping) and not (inputs and all(isinstance(name, str) for name in inputs)):
        raise UserMistake(
            f"the columns of inputs are {brief(list(inputs))}, expected at least one, each with a name"
        )
    on_each(_check_dense, inputs, titles(inputs, "inputs"))
    _check_dense(targets, "targets")

    def check_length(values: Tensor, called: str) -> None:
        if targets.ndim < 1 or values.ndim < 1 or len(values) != len(targets):
            raise UserMistake(
                f"a split needs one target an example, got {called} {tuple(values.shape)} "
                f"and targets {tuple(targets.shape)}"
            )

    on_each(check_length, inputs, titles(inputs, "inputs"))


def _check_dense(values: Any, called: str) -> None:
    if not isinstance(values, Tensor) or values.layout != torch.strided:
        raise UserMistake(f"{called} are {_kind(values)}, expected a dense torch.Tensor")


def check_preprocessing(preprocessing: "Preprocessing") -> None:
    """Refuse numbers that no input can be prepared with.

    Raises:
        UserMistake: a mean or deviation is not finite, a deviation or the padding not positive.
    """
    for name in ("mean", "std"):
        check_numbers("preprocessing", name, getattr(preprocessing, name))
    padding = preprocessing.crop_padding
    if min(preprocessing.std) <= 0 or not isinstance(padding, int) or padding < 0:
        raise UserMistake(
            f"standard deviations are positive and padding not negative, got {reprlib.repr(preprocessing)}"
        )


def check_numbers(whose: str, name: str, numbers: Any) -> None:
    """Refuse what is no tuple of finite numbers.

    Raises:
        UserMistake: it is not.
    """
    if not isinstance(numbers, tuple | list) or not numbers or not all(map(_is_finite, numbers)):
        raise UserMistake(
            f"{whose} has {reprlib.repr(numbers)} as {name}, expected a tuple of finite numbers"
        )


def check_set(dataset: "DataSet") -> None:
    """Refuse a set that some step of a training could not take.

    Raises:
        UserMistake: it has no task, parts that are empty or unlike, a target that is none of its task, or inputs
            that are not finite or do not fit their preprocessing; the line names the set, the part and the example.
    """
    name, task = dataset.name, dataset.task
    if not isinstance(task, Task):
        raise UserMistake(
            f"{name}: its task is {_kind(task)}, expected biograd.data.Classes(names), Regression, Labels or Tokens"
        )
    for part, split in (("training", dataset.train), ("test", dataset.test)):
        where = f"{name}, {part} part"
        if not len(split):
            raise UserMistake(f"{where}: it is empty, expected at least one example")
        check_values(split, task, where)
        _check_alike(split, dataset.train, where)
        check_fit(split.inputs, dataset.preprocessing, where)


def check_values(split: "Split", task: Task, where: str) -> None:
    """Refuse targets that are none of the task and inputs that are not finite.

    Args:
        split: the examples, which may be none.
        task: what their targets are.
        where: what the message calls them.

    Raises:
        UserMistake: there is such an example; the line names the first.
    """
    if not len(split):
        return
    task.check(split.targets, where)
    on_each(
        lambda values, called: check_finite(values, called, "an input"),
        split.inputs,
        titles(split.inputs, where),
    )


def check_finite(values: Tensor, where: str, what: str) -> None:
    """Refuse numbers that are not finite; whole ones are.

    Args:
        values: (n, …).
        where: what the message calls the examples.
        what: what it calls one of the values.

    Raises:
        UserMistake: there is such an example; the line names the first.
    """
    if values.is_floating_point() and values.numel() and not _are_finite(values):
        first = int((~values.reshape(len(values), -1).isfinite()).any(1).nonzero()[0])
        found = values[first].flatten()
        value = float(found[~found.isfinite()][0])
        raise UserMistake(f"{where}: {what} of example {first} is {value}, expected finite numbers")


def check_fit(
    inputs: Any, preprocessing: "Preprocessing | Mapping[str, Preprocessing] | None", where: str
) -> None:
    """Refuse inputs that cannot be prepared so.

    Raises:
        UserMistake: another type or shape is needed, or a preprocessing for each column.
    """
    if not isinstance(inputs, Mapping):
        _check_tensor(inputs, preprocessing, where)
        return
    given = {} if preprocessing is None else preprocessing
    if not isinstance(given, Mapping) or given.keys() - inputs.keys():
        named = f"those of {listed(list(given))}" if isinstance(given, Mapping) else "one for all"
        raise UserMistake(
            f"{where}: inputs are the columns {listed(list(inputs))}, and preprocessing is {named}: give a dict with "
            "one for each column that is to be prepared"
        )
    on_each(_check_column, inputs, given, titles(inputs, where))


def _check_tensor(inputs: Tensor, preprocessing: Any, where: str) -> None:
    if inputs.dtype not in (*_PREPARED, torch.int64) or inputs.ndim < 2 or not math.prod(inputs.shape[1:]):
        raise UserMistake(
            f"{where}: inputs are (n, …) uint8 or float32, or indices int64, got {tuple(inputs.shape)} {inputs.dtype}"
        )
    if isinstance(preprocessing, Mapping):
        raise UserMistake(
            f"{where}: inputs are one tensor, and preprocessing is a dict for columns: give one"
        )
    _check_preparation(inputs, preprocessing, where)


def _check_column(column: Tensor, preprocessing: "Preprocessing | None", where: str) -> None:
    if column.dtype not in (*_PREPARED, *_AS_THEY_ARE) or not math.prod(column.shape[1:]):
        raise UserMistake(
            f"{where}: a column is (n, …) uint8 or float32, or int64 or bool, which stay as they are, got "
            f"{tuple(column.shape)} {column.dtype}"
        )
    _check_preparation(column, preprocessing, where)


def _check_preparation(inputs: Tensor, preprocessing: "Preprocessing | None", where: str) -> None:
    if preprocessing is None or inputs.dtype in _AS_THEY_ARE:
        _check_unprepared(inputs, preprocessing, where)
        return
    shape = tuple(inputs.shape[1:])
    for name, numbers in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if len(numbers) not in (1, *shape[:1]):
            raise UserMistake(
                f"{where}: preprocessing has {len(numbers)} numbers as {name} for inputs of shape {shape}"
            )
    if preprocessing.is_random and len(shape) != 3:
        raise UserMistake(
            f"{where}: crops and flips need images (channels, height, width), got inputs of shape {shape}"
        )


def _check_unprepared(inputs: Tensor, preprocessing: "Preprocessing | None", where: str) -> None:
    """Indices are handed on as they are, and everything else is normalised."""
    if preprocessing is not None:
        raise UserMistake(
            f"{where}: inputs are indices, {inputs.dtype}, which are not normalised: give no preprocessing"
        )
    if inputs.dtype not in _AS_THEY_ARE:
        raise UserMistake(
            f"{where}: inputs {inputs.dtype} need a Preprocessing, mean and std; None is for indices, torch.int64"
        )


def _check_alike(split: "Split", first: "Split", where: str) -> None:
    """Refuse a part whose examples are unlike those of the training part: bytes beside numbers are scaled otherwise."""
    if _columns(split) != _columns(first):
        raise UserMistake(
            f"{where}: its inputs are {_spell(split)}, in the training part {_spell(first)}: name the same columns in "
            "the same order"
        )
    on_each(_check_same, split.inputs, first.inputs, titles(split.inputs, f"{where}: an example"))
    _check_same(split.targets, first.targets, f"{where}: the target of an example")


def _check_same(here: Tensor, there: Tensor, called: str) -> None:
    if here.shape[1:] != there.shape[1:] or here.dtype != there.dtype:
        raise UserMistake(
            f"{called} is {tuple(here.shape[1:])} {here.dtype}, "
            f"in the training part {tuple(there.shape[1:])} {there.dtype}"
        )


def _columns(split: "Split") -> list[str] | None:
    return list(split.inputs) if isinstance(split.inputs, Mapping) else None


def _spell(split: "Split") -> str:
    columns = _columns(split)
    return "one tensor" if columns is None else f"the columns {listed(columns)}"


def _are_finite(inputs: Tensor) -> bool:
    """One pass, without a mask as large as the set: what is not a number is both the least and the greatest."""
    least, greatest = inputs.aminmax()
    return bool(least.isfinite() & greatest.isfinite())


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 3e38


def _kind(value: Any) -> str:
    return f"a {value.layout} tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"
