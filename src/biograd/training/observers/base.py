"""The moments of a run, and what an observer is, which receives them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from biograd.records import DiagnosticsRow, EpochRow, Result

if TYPE_CHECKING:
    from biograd.training.trainer import Trainer


@dataclass(frozen=True)
class RunBegins:
    """A process starts the run, or goes on where it was stopped; the run's position says which."""


@dataclass(frozen=True)
class BatchDrawn:
    """A batch is at hand, and nothing has been taught of it.

    Attributes:
        x: this process's part of the inputs, in the precision of the net.
        y: its targets.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Measured:
    """The rule was measured on a batch that it has not been taught.

    Attributes:
        rows: as ``diagnostics.jsonl`` holds them.
    """

    rows: Sequence[DiagnosticsRow]


@dataclass(frozen=True)
class StepTaken:
    """The optimisers and the schedules by step have moved; inside an epoch, so the clock runs."""


@dataclass(frozen=True)
class EpochEnded:
    """An epoch is over, and was validated.

    Attributes:
        row: as ``metrics.jsonl`` holds it. Its losses may be those of a run that has diverged.
    """

    row: EpochRow


@dataclass(frozen=True)
class AtRest:
    """A step, or an epoch, is complete, and every observer has received its moments: a checkpoint can be made here.

    Attributes:
        is_epoch: whether an epoch is over; within one, the clock runs.
        is_last: whether no step follows; one who asks to stop here makes it the last after all.
    """

    is_epoch: bool = False
    is_last: bool = False


@dataclass(frozen=True)
class RunEnded:
    """The run is done or has diverged, and its result is about to be written.

    Attributes:
        result: as ``result.json`` will hold it.
    """

    result: Result


@dataclass(frozen=True)
class RunLeft:
    """The process leaves the run, whether it has ended or something was raised: what is open is closed.

    Every observer receives it, even one that did not receive the beginning because an observer before it had failed.
    """


Moment = RunBegins | BatchDrawn | Measured | StepTaken | EpochEnded | AtRest | RunEnded | RunLeft
"""Something that happens in a run. Of one step: drawn, perhaps measured, taken, at rest; after the last of an epoch:
ended, at rest."""


class Observer(ABC):
    """Receives the moments of a run.

    Its keyword-only parameters, annotated with their ranges, are its settings. It runs in the process that writes the
    records, and must leave net, rule, optimisers and the global random numbers as they are.

    Example:
        >>> class Patience(Observer):
        ...     '''Ends a run whose validation loss was above .5 after three epochs.'''
        ...     def notice(self, moment, run):
        ...         match moment:
        ...             case EpochEnded(row={"epoch": 3, "validation_loss": loss}) if loss > 0.5:
        ...                 return f"the validation loss is {loss:.2f} after 3 epochs"
        >>> Patience().notice(EpochEnded({"epoch": 3, "validation_loss": 0.75}), None)
        'the validation loss is 0.75 after 3 epochs'
    """

    is_everywhere: ClassVar[bool] = False
    """Whether each of the processes that train together has one, for what takes all of them."""

    @abstractmethod
    def notice(self, moment: Moment, run: "Trainer") -> str | None:
        """Take note of a moment, or ignore it.

        Time that is spent at `StepTaken` and `BatchDrawn` counts as time of training, unless it is spent within
        ``run.clock.paused()``.

        Args:
            moment: what has happened.
            run: with ``setup`` (net, rule, optimisers, batches), ``config``, ``folder``, ``position`` (epochs and
                steps done), ``rows`` (one an epoch) and ``clock``.

        Returns:
            Why the run should stop, None to let it go on. It stops when the epoch is over, as done.
        """


class StatefulObserver(Observer):
    """An observer whose state a checkpoint holds, so that a run that goes on finds it as it was."""

    @abstractmethod
    def state(self) -> Mapping[str, Any]:
        """Dicts, lists, tuples, scalars and tensors that `restore` takes."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave; before the run begins again."""
