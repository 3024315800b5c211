"""What follows a run while it goes: its records, and whatever else a user wants to watch it with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from biograd.errors import UserMistake
from biograd.registry import Registry
from biograd.settings import validate
from biograd.training.observers.base import (
    AtRest,
    BatchDrawn,
    EpochEnded,
    Measured,
    Moment,
    Observer,
    RunBegins,
    RunEnded,
    RunLeft,
    StatefulObserver,
    StepTaken,
)

if TYPE_CHECKING:
    from biograd.training.config import RunConfig
    from biograd.training.distributed import Ranks

__all__ = [
    "REGISTRY",
    "AtRest",
    "BatchDrawn",
    "EpochEnded",
    "Measured",
    "Moment",
    "Observer",
    "RunBegins",
    "RunEnded",
    "RunLeft",
    "StatefulObserver",
    "StepTaken",
    "create",
    "names",
    "of_run",
]

REGISTRY = Registry(
    "observer",
    {
        "tensorboard": "biograd.training.observers.tensorboard:TensorBoard",
        "mlflow": "biograd.training.observers.mlflow:MLflow",
    },
    group="biograd.observers",
)


def names() -> list[str]:
    """The short names of every observer."""
    return REGISTRY.names()


def create(name: str, **settings: Any) -> Observer:
    """Make an observer by its name.

    Raises:
        UserMistake: an unknown observer or setting, a value out of range, or no observer.
    """
    from biograd.training import user_code

    constructor = REGISTRY.find(name)
    checked = validate(constructor, settings, f"observer {name!r}")
    with user_code.blamed("observer", name):
        made = constructor(**checked)
    if not isinstance(made, Observer):
        raise UserMistake(
            f"observer {name!r} makes a {type(made).__name__}, expected a biograd.training.Observer"
        )
    return made


def of_run(
    config: "RunConfig", ranks: "Ranks", progress: bool | None = None, given: Sequence[Observer] = ()
) -> list[Observer]:
    """The observers of a run in one of its processes, in the order in which they receive each moment.

    Measurements come first, as the others receive them. Rows are written before other observers use them. A
    checkpoint is made last, when all that it counts on is written.

    Args:
        config: of the run.
        ranks: the process among those that train together.
        progress: as for `train`.
        given: those that were made in code.

    Raises:
        UserMistake: an observer of the configuration cannot be made.
    """
    from biograd.training.observers.checkpoints import Checkpoints
    from biograd.training.observers.diagnostics import Diagnostics
    from biograd.training.observers.named import Participant, Tracker
    from biograd.training.observers.progress import ProgressBar
    from biograd.training.observers.records import Records

    every = config.diagnostics_every
    taking_part = [(one.name, create(one.name, **one.settings)) for one in config.observe]
    taking_part += _named_apart(given)
    observers = [
        *([Diagnostics(every=every)] if every else []),
        Records(),
        *(Participant(name, one) for name, one in taking_part),
        *(Tracker(one.name, create(one.name, **one.settings)) for one in config.track),
        ProgressBar(wanted=progress),
        Checkpoints(every=config.checkpoint_every),
    ]
    return [one for one in observers if ranks.first or _itself(one).is_everywhere]


def _named_apart(given: Sequence[Observer]) -> list[tuple[str, Observer]]:
    """Observers by their classes, those of one class told apart, so that each finds its own state again."""
    classes = [type(one).__name__ for one in given]
    counts = [classes[: place + 1].count(name) for place, name in enumerate(classes)]
    names = [name if count == 1 else f"{name} {count}" for name, count in zip(classes, counts, strict=True)]
    return list(zip(names, given, strict=True))


def _itself(observer: Observer) -> Observer:
    """The observer that a configuration names, or the code gave, without what passes its moments on."""
    from biograd.training.observers.named import Participant, Tracker

    return observer.observer if isinstance(observer, Participant | Tracker) else observer
