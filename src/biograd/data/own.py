"""Sets of a user's own examples: what all of them have in common, whatever they are read from."""

from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Lt

from biograd.data.dataset import DataSet, Preprocessing, Split
from biograd.data.tasks import Classes, Task
from biograd.errors import UserMistake

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

TestFraction = Annotated[float, Gt(0), Lt(1)] | None
CropPadding = Annotated[int, Ge(0)]

SHARE_OF_TEST = 0.2


def made(
    name: str,
    train: Split,
    test: Split | None,
    task: Task,
    *,
    seed: int,
    test_fraction: float | None = None,
    normalize: bool = True,
    crop_padding: int = 0,
    flip: bool = False,
) -> DataSet:
    """A data set of a user's own examples.

    Args:
        name: what messages and tables call it.
        train: the training part, or all there is.
        test: the test part, None where it is to be carved.
        task: what their targets are.
        seed: draws the test part that is carved.
        test_fraction: of ``train`` that is the test part; None for a fifth where there is no other.
        normalize: to mean 0 and deviation 1 on the training part, channel by channel; else bytes are in [0, 1].
        crop_padding: see `biograd.data.Preprocessing`.
        flip: see there.

    Raises:
        UserMistake: a fraction is given beside a test part, or the set is none; see `DataSet`.
    """
    from biograd.data.splits import carve_validation
    from biograd.data.statistics import standardisation

    if test is None:
        fraction = SHARE_OF_TEST if test_fraction is None else test_fraction
        train, test = carve_validation(train, task, fraction, seed)
    elif test_fraction is not None:
        raise UserMistake(
            f"it has a test part of its own: test_fraction = {test_fraction} would carve another"
        )
    found = standardisation(train) if normalize else Preprocessing((0.0,), (1.0,))
    preparation = Preprocessing(found.mean, found.std, crop_padding=crop_padding, flip=flip)
    return DataSet(name, train, test, task, preparation)


def as_inputs(values: "ndarray", where: str) -> "Tensor":
    """Bytes as they are, other numbers as float32.

    Raises:
        UserMistake: they are no numbers.
    """
    import numpy as np
    import torch

    if values.dtype.kind not in "buif":
        raise UserMistake(f"{where}: inputs are {values.dtype}, expected numbers")
    return torch.from_numpy(
        np.ascontiguousarray(values, np.uint8 if values.dtype == np.uint8 else np.float32)
    )


def as_classes(
    parts: "list[ndarray]", where: str, names: tuple[str, ...] | None = None
) -> "tuple[list[Tensor], Classes]":
    """Labels of each part, whole numbers or texts, as indices of classes.

    Args:
        parts: the labels, (n,) each.
        where: what messages call them.
        names: of the classes, where labels are their indices; None for those that occur, in order.

    Raises:
        UserMistake: they are no labels, or not one an example.
    """
    import numpy as np
    import torch

    for labels in parts:
        if labels.dtype.kind not in ("bui" if names else "buiU") or labels.ndim != 1:
            raise UserMistake(
                f"{where}: targets are {labels.shape} {labels.dtype}, expected a class for each example, a whole "
                "number or text"
            )
    if names is not None:
        return [torch.from_numpy(labels.astype(np.int64)) for labels in parts], Classes(names)
    found, indices = np.unique(np.concatenate(parts), return_inverse=True)
    ends = np.cumsum([len(labels) for labels in parts])[:-1]
    by_part = [torch.from_numpy(part.astype(np.int64)) for part in np.split(indices.reshape(-1), ends)]
    return by_part, Classes(tuple(str(name) for name in found))
