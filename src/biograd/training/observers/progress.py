"""A run's progress bar."""

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from biograd.progress import Silent, shown
from biograd.tasks import METRICS, Kind
from biograd.training.observers.base import EpochEnded, Moment, Observer, RunBegins, RunLeft, StepTaken

if TYPE_CHECKING:
    from biograd.training.trainer import Trainer


class ProgressBar(Observer):
    """Shows steps, and beside them what the last epoch reached.

    Args:
        wanted: whether to show it; None shows it when standard error is a terminal.
    """

    def __init__(self, *, wanted: bool | None = None) -> None:
        self._wanted, self._bar, self._shown = wanted, Silent(), contextlib.ExitStack()

    def notice(self, moment: Moment, run: "Trainer") -> None:
        """Move the bar."""
        match moment:
            case StepTaken():
                self._bar.reach(run.position.step)
            case EpochEnded(row):
                self._bar.say(run.position.step, _note(row, run.setup.task.kind))
            case RunBegins():
                config = run.config
                title = f"{config.title} {config.data.label} {config.net.label} seed {config.seed}"
                bar = shown(title, run.position.step, run.setup.steps, self._wanted)
                self._bar = self._shown.enter_context(bar)
            case RunLeft():
                self._shown.close()


def _note(row: Mapping[str, Any], kind: Kind) -> str:
    """The metric that rules are compared by, of the validation part or else of training; or else the loss."""
    metric = METRICS[kind][0]
    for part, called in (("validation", "validation"), ("train", "training")):
        value = row.get(f"{part}_{metric.name}")
        if value is not None:
            return f"{called} {metric.title} {metric.spelled(value)}"
    return f"training loss {row['train_loss']:.4g}"
