"""Data of a user's own: what is given as a data set, as a loader like the others."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from biograd.data.dataset import DataSet
from biograd.data.examples import Examples, are_examples, gathered
from biograd.data.own import CropPadding, TestFraction, made
from biograd.errors import UserMistake
from biograd.tasks import Kind

NAMES = ("directory", "download", "seed")
"""What a loader is given, by position."""


def loader(found: Any) -> Any:
    """What a user names or hands over as data, as ``Name(directory, download, seed, *, …) -> DataSet``.

    A `DataSet` is as it is; examples, in the forms that `gathered` reads, become one. A class or function is called
    with those of directory, download and seed that it takes, and what it gives becomes one too. Anything else is as it
    is.
    """
    if isinstance(found, DataSet):
        return _ready(found)
    if isinstance(found, Examples) or are_examples(found):
        return _of_examples(found)
    return _calling(found) if callable(found) else found


def _ready(found: DataSet) -> Callable[..., DataSet]:
    def ready(directory: str | Path | None, download: bool, seed: int) -> DataSet:
        """A data set of your own, as it is."""
        del directory, download, seed
        return found

    return ready


def _of_examples(found: Any) -> Callable[..., DataSet]:
    def own(
        directory: str | Path | None,
        download: bool,
        seed: int,
        *,
        inputs: str | None = None,
        targets: str | None = None,
        task: Kind = "classes",
        indices: bool = False,
        test_fraction: TestFraction = None,
        normalize: bool = True,
        crop_padding: CropPadding = 0,
        flip: bool = False,
    ) -> DataSet:
        """Examples of your own.

        Args:
            directory: not used.
            download: not used.
            seed: draws the test part where there is none.
            inputs: where examples are mappings or columns, which one holds the inputs.
            targets: the same of the targets.
            task: what a target is: a class, numbers (regression), 0 or 1 for each of several labels, a class a token.
            indices: inputs are whole numbers, of words say, and stay as they are.
            test_fraction: of the examples that is the test part, where there is no other; none stands for a fifth.
            normalize: to mean 0 and deviation 1 on the training part, channel by channel.
            crop_padding: train on crops from images padded by so many black pixels on every side.
            flip: train on mirror images, half of the time.
        """
        examples = gathered(found, inputs=inputs, targets=targets)
        parts = [part for part in (examples.train, examples.test) if part is not None]
        return made(
            "own data",
            [part.inputs for part in parts],
            [part.targets for part in parts],
            seed=seed,
            task=task,
            names=examples.classes if task in ("classes", "tokens") else None,
            indices=indices,
            test_fraction=test_fraction,
            normalize=normalize,
            crop_padding=crop_padding,
            flip=flip,
        )

    return own


def _calling(make: Callable[..., Any]) -> Callable[..., Any]:
    """A loader that calls a user's own class or function, and makes a set of the examples that it gives."""

    @functools.wraps(make.__init__ if inspect.isclass(make) else make)
    def called(directory: str | Path | None, download: bool, seed: int, **settings: Any) -> Any:
        found = _called(make, dict(zip(NAMES, (directory, download, seed), strict=True)), settings)
        return _of_examples(found)(directory, download, seed) if are_examples(found) else found

    return called


def _called(make: Callable[..., Any], given: dict[str, Any], settings: dict[str, Any]) -> Any:
    """What it gives: called with all by position where it needs as many, else with those that it names.

    Raises:
        UserMistake: it needs others.
    """
    parameters = inspect.signature(make).parameters.values()
    by_position = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = [one.name for one in by_position if one.default is one.empty]
    if len(needed) == len(given) or any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return make(*given.values(), **settings)
    if not set(needed) <= set(given):
        raise UserMistake(
            f"it takes {inspect.signature(make)}, expected (directory, download, seed, *, settings), or those of them "
            "that it names"
        )
    return make(**{one.name: given[one.name] for one in by_position if one.name in given}, **settings)
