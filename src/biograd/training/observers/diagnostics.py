"""Measurements of the rule beside backpropagation, every so many steps."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from biograd.diagnostics import measure
from biograd.training.observers.base import BatchDrawn, Measured, Moment, Observer

if TYPE_CHECKING:
    from biograd.training.trainer import Trainer


class Diagnostics(Observer):
    """Measures the rule on a whole batch before it learns from it, and sends the rows to all observers.

    Args:
        every: steps between two measurements.
    """

    name = "--diagnostics-every"
    """What a checkpoint calls its state; no observer of a user's has such a name."""

    def __init__(self, *, every: int) -> None:
        self.every = every
        self._signals: dict[str, Tensor] = {}

    def state(self, run: "Trainer") -> Mapping[str, Any]:
        """The mean teaching signals of the last measurement, which the next one is compared with."""
        return dict(self._signals)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put them back."""
        self._signals = dict(state)

    def notice(self, moment: Moment, run: "Trainer") -> None:
        """Measure when it is time to."""
        match moment:
            case BatchDrawn() if run.position.step % self.every == 0:
                with run.clock.paused():
                    self._measure(moment, run)

    def _measure(self, moment: BatchDrawn, run: "Trainer") -> None:
        """One process measures for all, on the examples of all: angles do not depend on how many there are."""
        setup, position = run.setup, run.position
        x, y = (moment.x, moment.y) if run.ranks.size == 1 else self._whole_batch(run)
        with setup.autocast():
            rows = measure(setup.net, setup.rule, x, y, setup.loss_fn, remembered=self._signals)
        run.tell(
            Measured(
                [
                    {
                        "step": position.step,
                        "epoch": position.epoch + 1,
                        "quantity": row["quantity"],
                        "layer": row["layer"],
                        "value": row["value"],
                    }
                    for row in rows
                ]
            )
        )

    def _whole_batch(self, run: "Trainer"):
        x, y = next(iter(run.setup.training.epoch(run.position.epoch, start=run.position.batch)))
        return run.setup.inputs(x), y
