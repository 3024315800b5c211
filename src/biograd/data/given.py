"""Data of a user's own: what is given as a data set, as a loader like the others."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from biograd.data.dataset import DataSet
from biograd.data.examples import Examples, are_examples, gathered
from biograd.data.own import (
    CropPadding,
    Flip,
    Indices,
    Normalize,
    NormalizeTargets,
    TargetKind,
    TestFraction,
    made,
)
from biograd.errors import UserMistake
from biograd.settings import Meaning, annotations

NAMES = ("directory", "download", "seed")
"""What a loader is given, by position."""

InputColumns = Annotated[
    tuple[str, ...],
    Meaning(
        "where examples are mappings or columns, which one holds inputs; of several a net is given a dict"
    ),
]
TargetColumn = Annotated[
    str | None, Meaning("where examples are mappings or columns, which one holds targets")
]


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
        inputs: InputColumns = (),
        targets: TargetColumn = None,
        task: TargetKind = None,
        indices: Indices = False,
        test_fraction: TestFraction = None,
        normalize: Normalize = True,
        normalize_targets: NormalizeTargets = True,
        crop_padding: CropPadding = 0,
        flip: Flip = False,
    ) -> DataSet:
        """Examples of your own; where there is no test part it is drawn by seed."""
        del directory, download
        examples = gathered(found, inputs=inputs, targets=targets)
        parts = [part for part in (examples.train, examples.test) if part is not None]
        return made(
            "own data",
            [part.inputs for part in parts],
            [part.targets for part in parts],
            seed=seed,
            task=task,
            names=examples.classes if task in (None, "classes", "tokens") else None,
            indices=indices,
            test_fraction=test_fraction,
            normalize=normalize,
            normalize_targets=normalize_targets,
            crop_padding=crop_padding,
            flip=flip,
        )

    return own


def _calling(make: Callable[..., Any]) -> Callable[..., Any]:
    """A loader that calls a user's own class or function, and makes a set of the examples that it gives.

    Its settings are those of both, unless it says that it gives a `DataSet`.
    """
    says = annotations(make)
    own, of_examples = _by_name(make), _by_name(_of_examples(()))

    def called(directory: str | Path | None, download: bool, seed: int, **settings: Any) -> Any:
        places: tuple[Any, ...] = (directory, download, seed)
        others = {name: value for name, value in settings.items() if name not in own}
        found = _called(make, places, {name: value for name, value in settings.items() if name in own})
        if are_examples(found):
            return _of_examples(found)(*places, **others)
        if others:
            raise UserMistake(
                f"it gives a {type(found).__name__}, whose examples are as they are: leave out {', '.join(others)}"
            )
        return found

    first = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in NAMES]
    settings = own if says.get("return") is DataSet else {**of_examples, **own}
    signature = inspect.Signature([*first, *settings.values()])
    called.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    called.__annotations__ = {**annotations(_of_examples(())), **says}
    called.__doc__, called.__module__, called.__qualname__ = make.__doc__, make.__module__, make.__qualname__
    return called


def _by_name(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that are given by name, and are settings."""
    found = inspect.signature(make).parameters
    return {name: one for name, one in found.items() if _is_by_name(one) and name not in NAMES}


def _called(make: Callable[..., Any], places: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """What it gives: called with all by position where it needs as many, else with those that it names.

    Raises:
        UserMistake: it needs others.
    """
    parameters = inspect.signature(make).parameters.values()
    given = dict(zip(NAMES, places, strict=True))
    by_position = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    by_name = {one.name: given[one.name] for one in parameters if _is_by_name(one) and one.name in given}
    needed = [one.name for one in by_position if one.default is one.empty]
    if len(needed) == len(NAMES) or any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return make(*places, **by_name, **settings)
    if not set(needed) <= set(given):
        raise UserMistake(
            f"it takes {inspect.signature(make)}, expected (directory, download, seed, *, settings), or those of them "
            "that it names"
        )
    by_name |= {one.name: given[one.name] for one in by_position if one.name in given}
    return make(**by_name, **settings)


def _is_by_name(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.KEYWORD_ONLY
