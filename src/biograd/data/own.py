"""Sets of a user's own examples: what all of them have in common, whatever they are read from."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Lt

from biograd.data.columns import on_each, titles
from biograd.data.dataset import DataSet, Preprocessing, Split
from biograd.data.tasks import Classes, Labels, Regression, Task, Tokens
from biograd.errors import UserMistake, listed
from biograd.settings import Meaning
from biograd.tasks import Kind

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

TargetKind = Annotated[
    Kind | None,
    Meaning(
        "what a target is: a class, numbers (regression), 0 or 1 for each of several labels, a class a token; none "
        "stands for a class, unless targets look like numbers to predict"
    ),
]
Indices = Annotated[bool, Meaning("inputs are whole numbers, of words say, and stay as they are")]
TestFraction = Annotated[
    Annotated[float, Gt(0), Lt(1)] | None,
    Meaning("of the examples that is the test part, where there is no other; none stands for a fifth"),
]
Normalize = Annotated[bool, Meaning("to mean 0 and deviation 1 on the training part, channel by channel")]
NormalizeTargets = Annotated[
    bool, Meaning("numbers to predict are learned with mean 0 and deviation 1; false leaves them as they are")
]
CropPadding = Annotated[
    int, Ge(0), Meaning("train on crops from images padded by so many black pixels on every side")
]
Flip = Annotated[bool, Meaning("train on mirror images, half of the time")]

SHARE_OF_TEST = 0.2
FEW_CLASSES = 20
"""Different whole numbers that are taken for classes, however few examples there are."""
FEW_EXAMPLES = 10
"""Examples a class, below which more of them look like numbers to predict."""


def made(
    name: str,
    inputs: Sequence[Any],
    targets: "Sequence[ndarray]",
    *,
    seed: int,
    task: Kind | None = None,
    names: tuple[str, ...] | None = None,
    indices: bool = False,
    test_fraction: float | None = None,
    normalize: bool = True,
    normalize_targets: bool = True,
    crop_padding: int = 0,
    flip: bool = False,
) -> DataSet:
    """A data set of a user's own examples.

    Args:
        name: what messages and tables call it.
        inputs: arrays (n, …) of the training and the test part, or of all there is; or columns by name, of which whole
            numbers and truth values stay as they are, bytes apart.
        targets: the same of the targets.
        seed: draws the test part where there is none.
        task: what the targets are; see `biograd.data.Task`. None for classes, which must look like some; see
            `refuse_likely_numbers`.
        names: of the outputs; of classes, None for those that occur, in order.
        indices: inputs are whole numbers that stay as they are, in all columns.
        test_fraction: of the examples that is the test part; None for a fifth where there is no other.
        normalize: to mean 0 and deviation 1 on the training part, channel by channel; else bytes are in [0, 1].
        normalize_targets: numbers to predict are learned with mean 0 and deviation 1 on the training part; else as
            they are.
        crop_padding: see `biograd.data.Preprocessing`.
        flip: see there.

    Raises:
        UserMistake: a fraction is given beside a test part, the test part has a class that the training part lacks, or
            the set is none; see `DataSet`.
    """
    from biograd.data.splits import carve_validation

    for x in inputs:
        _check_inputs(x, name)
    if task is None and names is None:
        refuse_likely_numbers(targets, name)
    y, task_of = _as_targets(targets, task or "classes", name, names, normalize_targets)
    train, *tests = [Split(_as_tensors(x, name, indices), one) for x, one in zip(inputs, y, strict=True)]
    if tests and test_fraction is not None:
        raise UserMistake(
            f"it has a test part of its own: test_fraction = {test_fraction} would carve another"
        )
    if tests:
        test = tests[0]
    else:
        task_of_all = task_of(train.targets)
        task_of_all.check(train.targets, name)
        share = SHARE_OF_TEST if test_fraction is None else test_fraction
        train, test = carve_validation(train, task_of_all, share, seed)
    if indices and (crop_padding or flip):
        raise UserMistake("its inputs are indices, and no images that could be cropped or mirrored")
    preprocessing = None if indices else _preprocessing(train.inputs, normalize, crop_padding, flip)
    found = DataSet(name, train, test, task_of(train.targets), preprocessing)
    if isinstance(found.task, Classes | Tokens) and tests:
        _refuse_unlearned(found)
    return found


def refuse_likely_numbers(targets: "Sequence[ndarray]", where: str) -> None:
    """Refuse whole numbers that are hardly classes: too many for so few examples.

    Args:
        targets: of each part.
        where: what the message calls them.

    Raises:
        UserMistake: it is to be said what they are.
    """
    import numpy as np

    if any(part.dtype.kind not in "ui" for part in targets):
        return
    joined = np.concatenate([part.reshape(-1) for part in targets])
    found = len(np.unique(joined))
    if found > max(FEW_CLASSES, len(joined) / FEW_EXAMPLES):
        raise UserMistake(
            f"{where}: the targets of {len(joined)} examples are {found} different whole numbers: say what they are "
            "with the data's setting task, regression for numbers to predict (--data.task regression), classes if each "
            "is one"
        )


def _refuse_unlearned(dataset: DataSet) -> None:
    learned, asked = (set(part.targets.unique().tolist()) for part in (dataset.train, dataset.test))
    if lacking := sorted(asked - learned):
        raise UserMistake(
            f"{dataset.name}: its test part has examples of class {dataset.task.names[lacking[0]]!r}, and its training "
            "part has none to learn from: add some, or leave them out of both"
        )


def _preprocessing(inputs: Any, normalize: bool, crop_padding: int, flip: bool) -> Any:
    """Of a tensor, or of each column of numbers, among which images are cropped and mirrored."""
    if not isinstance(inputs, Mapping):
        return _of_tensor(inputs, normalize, crop_padding, flip)
    numbers = {name: column for name, column in inputs.items() if _is_prepared(column)}
    images = [name for name, column in numbers.items() if column.ndim == 4]
    if (crop_padding or flip) and not images:
        raise UserMistake(
            f"its columns {listed(list(inputs))} hold no images, (channels, height, width), that could be cropped or "
            "mirrored"
        )
    changes = dict.fromkeys(images, (crop_padding, flip))
    return {
        name: _of_tensor(column, normalize, *changes.get(name, (0, False)))
        for name, column in numbers.items()
    }


def _of_tensor(inputs: "Tensor", normalize: bool, crop_padding: int, flip: bool) -> Preprocessing:
    from biograd.data.statistics import standardisation

    found = standardisation(inputs) if normalize else Preprocessing((0.0,), (1.0,))
    return Preprocessing(found.mean, found.std, crop_padding=crop_padding, flip=flip)


def _is_prepared(column: "Tensor") -> bool:
    import torch

    return column.dtype in (torch.uint8, torch.float32)


def _check_inputs(inputs: Any, where: str) -> None:
    """Refuse what holds no examples; single numbers are a column only where others stand beside it."""
    least = 1 if isinstance(inputs, Mapping) else 2

    def check(values: "ndarray", called: str) -> None:
        if values.ndim < least or 0 in values.shape:
            raise UserMistake(
                f"{called}: inputs are {values.shape}, expected (n, …) of at least one example; (n, 1) of single "
                "numbers"
            )

    on_each(check, inputs, titles(inputs, where))


def _as_tensors(inputs: Any, where: str, indices: bool) -> Any:
    """An array or columns as a tensor or tensors; of columns, whole numbers and truth values stay as they are."""
    read = _as_column if isinstance(inputs, Mapping) else _as_inputs
    return on_each(lambda values, called: read(values, called, indices), inputs, titles(inputs, where))


def _as_column(values: "ndarray", where: str, indices: bool) -> "Tensor":
    import numpy as np
    import torch

    if values.dtype.kind == "b" and not indices:
        return torch.from_numpy(np.ascontiguousarray(values))
    is_whole = values.dtype.kind in "iu" and values.dtype != np.uint8
    return _as_inputs(values, where, indices or is_whole)


def _as_inputs(values: "ndarray", where: str, indices: bool) -> "Tensor":
    """Bytes as they are, and so whole numbers that are indices; other numbers as float32."""
    import numpy as np
    import torch

    if values.dtype.kind not in ("bui" if indices else "buif"):
        raise UserMistake(f"{where}: inputs are {values.dtype}, expected {'whole ' * indices}numbers")
    if not indices and values.dtype != np.uint8:
        return _as_floats(values, where, "an input")
    return torch.from_numpy(np.ascontiguousarray(values, np.int64 if indices else np.uint8))


def _as_floats(values: "ndarray", where: str, what: str) -> "Tensor":
    """Numbers as float32, all of them finite, so that a mean can be taken of them."""
    import numpy as np
    import torch

    from biograd.data.checks import check_finite

    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        found = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    check_finite(found, where, what)
    return found


def _as_targets(
    parts: "Sequence[ndarray]", task: Kind, where: str, names: tuple[str, ...] | None, normalize: bool
) -> "tuple[list[Tensor], Callable[[Tensor], Task]]":
    """Targets as tensors, and the task of which they are, given those of the training part."""
    if task != "regression" and not normalize:
        raise UserMistake(
            f"{where}: normalize_targets is for numbers to predict, and targets are {task}, as they are: leave it out"
        )
    if task in ("classes", "tokens"):
        found, classes = _as_classes(parts, 1 if task == "classes" else 2, where, names)
        made = Classes(classes) if task == "classes" else Tokens(classes)
        return found, lambda train: made
    numbers = [_as_numbers(part, where) for part in parts]
    titles = names or tuple(str(place) for place in range(numbers[0].shape[1]))
    if task == "labels":
        return numbers, lambda train: Labels(titles)
    if not normalize:
        as_they_are = Regression(titles, (0.0,) * len(titles), (1.0,) * len(titles))
        return numbers, lambda train: as_they_are
    return numbers, lambda train: Regression.standardised(titles, train)


def _as_classes(
    parts: "Sequence[ndarray]", axes: int, where: str, names: tuple[str, ...] | None
) -> "tuple[list[Tensor], tuple[str, ...]]":
    """Labels, whole numbers or texts, as indices of classes: of those with these names, or of those that occur."""
    import numpy as np
    import torch

    for labels in parts:
        if labels.dtype.kind not in ("bui" if names else "buiU") or labels.ndim != axes:
            raise UserMistake(
                f"{where}: targets are {labels.shape} {labels.dtype}, expected a class for each "
                f"{'example' if axes == 1 else 'token'}, a whole number or text; numbers are task = regression, "
                "and so for labels and tokens"
            )
    if names is not None:
        return [torch.from_numpy(labels.astype(np.int64)) for labels in parts], names
    found, places = np.unique(np.concatenate([part.reshape(-1) for part in parts]), return_inverse=True)
    ends = np.cumsum([part.size for part in parts])[:-1]
    split = [one.reshape(part.shape) for one, part in zip(np.split(places, ends), parts, strict=True)]
    return [torch.from_numpy(part.astype(np.int64)) for part in split], tuple(str(name) for name in found)


def _as_numbers(targets: "ndarray", where: str) -> "Tensor":
    """(n, outputs) float32."""
    if targets.dtype.kind not in "buif" or targets.ndim not in (1, 2):
        raise UserMistake(
            f"{where}: targets are {targets.shape} {targets.dtype}, expected numbers, (n,) or (n, outputs)"
        )
    return _as_floats(targets.reshape(len(targets), -1), where, "a target")
