"""Examples of one's own in a NumPy archive."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import MinLen

from biograd.data.columns import require_once
from biograd.data.dataset import DataSet
from biograd.data.own import CropPadding, TestFraction, made
from biograd.errors import UserMistake, listed, unreadable
from biograd.tasks import Kind

if TYPE_CHECKING:
    from numpy import ndarray

Axes = Literal["as-they-are", "hw", "hwc"]


def arrays(
    path: str,
    directory: str | Path | None,
    download: bool,
    seed: int,
    *,
    inputs: Annotated[tuple[str, ...], MinLen(1)] = ("x",),
    targets: str = "y",
    axes: Axes = "as-they-are",
    task: Kind | None = None,
    indices: bool = False,
    test_fraction: TestFraction = None,
    normalize: bool = True,
    normalize_targets: bool = True,
    crop_padding: CropPadding = 0,
    flip: bool = False,
) -> DataSet:
    """Your own arrays, in a file that ``numpy.savez`` wrote.

    They are called ``x_train``, ``y_train``, ``x_test`` and ``y_test``, or ``x`` and ``y``. Inputs (n, …) are bytes,
    which are scaled to [0, 1], or any numbers, as float32; the axis after the first is the channel, or the feature.
    Targets (n,) are whole numbers or texts, and the values that occur are the classes; of other tasks they are numbers.
    Several arrays of inputs reach the net as a dict, by name; of these, whole numbers stay as they are, bytes apart.
    Nothing in the file is run: arrays of Python objects are refused.

    Args:
        path: of the file.
        directory: not used.
        download: not used.
        seed: draws the test part where there is none.
        inputs: how the arrays of inputs are called; ``images`` stands for ``images_train`` or ``train_images``, and so
            for ``test``, or else for ``images`` alone; several are the columns of an example.
        targets: the same of the targets.
        axes: of one example as it is stored: ``hw`` for images without a channel, ``hwc`` for channels last; of several
            arrays, those that have as many axes are turned.
        task: what a target is: a class, numbers (regression), 0 or 1 for each of several labels, a class a token; none
            stands for a class, unless targets look like numbers to predict.
        indices: inputs are whole numbers, of words say, and stay as they are.
        test_fraction: of the examples that is the test part, where there is no other; none stands for a fifth.
        normalize: to mean 0 and deviation 1 on the training part, channel by channel.
        normalize_targets: numbers to predict are learned with mean 0 and deviation 1; false leaves them as they are.
        crop_padding: train on crops from images padded by so many black pixels on every side.
        flip: train on mirror images, half of the time.
    """
    require_once(inputs)
    stored = _read(Path(path).expanduser())
    where = Path(path).name
    parts = {name: _parts(stored, name, where) for name in inputs}
    y = [_flat(part) for part in _parts(stored, targets, where)]
    if odd := next((name for name in inputs if len(parts[name]) != len(y)), None):
        raise UserMistake(
            f"{where} has {len(parts[odd])} parts of {odd!r} and {len(y)} of {targets!r}: {_held(stored)}"
        )
    x = [_turned({name: parts[name][place] for name in inputs}, axes, where) for place in range(len(y))]
    return made(
        Path(path).stem,
        x,
        y,
        seed=seed,
        task=task,
        indices=indices,
        test_fraction=test_fraction,
        normalize=normalize,
        normalize_targets=normalize_targets,
        crop_padding=crop_padding,
        flip=flip,
    )


def _read(path: Path) -> "dict[str, ndarray]":
    import numpy as np

    with _refused(path):
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            raise UserMistake(f"{path} holds one array, expected several by name, as numpy.savez writes them")
        with found as file:
            return {name: file[name] for name in file.files}


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except UserMistake:
        raise
    except OSError as error:
        raise unreadable(path, error, "arrays that numpy.savez wrote") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserMistake(
            f"{path} is no file of arrays that numpy.savez wrote, or holds Python objects, which are not read"
        ) from error


def _parts(stored: "dict[str, ndarray]", name: str, where: str) -> "list[ndarray]":
    """The arrays of a name, of the training and the test part, or the one for both."""
    train, test = (
        next((stored[key] for key in (f"{name}_{part}", f"{part}_{name}") if key in stored), None)
        for part in ("train", "test")
    )
    if train is None and name in stored:
        return [stored[name]]
    if train is None:
        raise UserMistake(f"{where} has no array {name!r} nor {name + '_train'!r}: {_held(stored)}")
    return [train] if test is None else [train, test]


def _held(stored: "dict[str, ndarray]") -> str:
    return f"it holds {listed(sorted(stored))}; --data.inputs and --data.targets say how they are called"


def _turned(columns: "dict[str, ndarray]", axes: Axes, where: str) -> Any:
    """Examples whose images have the channel first; of one column the array itself."""
    images = {name: values for name, values in columns.items() if values.ndim == _AXES.get(axes)}
    if axes in _AXES and not images:
        shapes = ", ".join(str(values.shape) for values in columns.values())
        raise UserMistake(f"{where}: inputs are {shapes}, which are no images with the axes {axes!r} each")
    turned = columns | {
        name: values[:, None] if axes == "hw" else values.transpose(0, 3, 1, 2)
        for name, values in images.items()
    }
    return turned if len(turned) > 1 else next(iter(turned.values()))


_AXES = {"hw": 3, "hwc": 4}
"""Axes of all images together."""


def _flat(targets: "ndarray") -> "ndarray":
    """A column of targets as a list of them."""
    return targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
