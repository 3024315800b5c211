"""Observers that a configuration names: those that take part in a run, and those that only follow it."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from biograd.errors import UserMistake, cut_short
from biograd.training import user_code
from biograd.training.observers.base import Moment, Observer, RunBegins, RunLeft, StatefulObserver
from biograd.training.packing import pack
from biograd.user_files import lines_of

if TYPE_CHECKING:
    from biograd.training.trainer import Trainer


class Participant(Observer):
    """An observer that is part of what a run is: it may stop it, and what it raises ends it.

    Args:
        name: as the configuration has it.
        observer: what the name stands for.
    """

    def __init__(self, name: str, observer: Observer) -> None:
        self.name, self.observer = name, observer

    def notice(self, moment: Moment, run: "Trainer") -> str | None:
        """Pass a moment on; the reason that it gives to stop is passed back with its name."""
        with user_code.blamed("observer", self.name):
            reason = self.observer.notice(moment, run)
        return None if reason is None else f"{type(self.observer).__name__}: {reason}"

    def state(self, run: "Trainer") -> Mapping[str, Any]:
        """That of the observer, where it has one."""
        with user_code.blamed("observer", self.name):
            return _state(self.observer)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        with user_code.blamed("observer", self.name):
            _restore(self.observer, state)


class Tracker(Observer):
    """An observer that a run does not depend on: it decides nothing, and what it raises ends no training.

    If it cannot begin, the run is refused, since nothing is lost yet. If it fails later, it is dropped, and the run's
    warnings say so; the records stay whole without it.

    Args:
        name: as the configuration has it.
        observer: what the name stands for.
    """

    def __init__(self, name: str, observer: Observer) -> None:
        self.name, self.observer, self._is_dropped = name, observer, False

    def notice(self, moment: Moment, run: "Trainer") -> None:
        """Pass a moment on, and drop the observer when it fails; then it has only to close what it has open."""
        if self._is_dropped and not isinstance(moment, RunLeft):
            return
        try:
            if self.observer.notice(moment, run) is not None:
                raise UserMistake(
                    "it asks to stop the run, which what tracks it cannot: name it under observe"
                )
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(moment, RunBegins):
                self._is_dropped = True  # what it raises when the run is left is said no more
                raise self._refused(error) from error
            self._drop(run, error)

    def state(self, run: "Trainer") -> Mapping[str, Any]:
        """That of the observer, where it has one; it is dropped when it has none that can be kept."""
        if self._is_dropped:
            return {}
        try:
            return _state(self.observer)
        except MemoryError:
            raise
        except Exception as error:
            self._drop(run, error)
            return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        try:
            _restore(self.observer, state)
        except MemoryError:
            raise
        except Exception as error:
            raise self._refused(error) from error

    def _drop(self, run: "Trainer", error: Exception) -> None:
        """Go on without it, and say so once."""
        if self._is_dropped:
            return
        self._is_dropped = True
        step = run.position.step
        warning = f"track {self.name!r} failed after step {step} and was dropped: {_reason(error)}"
        run.warnings.append(warning)
        warnings.warn(warning, stacklevel=2)

    def _refused(self, error: Exception) -> UserMistake:
        return UserMistake(f"track {self.name!r} cannot begin: {_reason(error)}", lines_of(error))


def _reason(error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return first if isinstance(error, UserMistake) else f"{type(error).__name__}: {cut_short(first)}"


def _state(observer: Observer) -> Mapping[str, Any]:
    """What a checkpoint keeps of an observer.

    Raises:
        TypeError: it is nothing that a checkpoint can hold.
    """
    if not isinstance(observer, StatefulObserver):
        return {}
    state = observer.state()
    pack(state)
    return state


def _restore(observer: Observer, state: Mapping[str, Any]) -> None:
    if isinstance(observer, StatefulObserver):
        observer.restore(state)
