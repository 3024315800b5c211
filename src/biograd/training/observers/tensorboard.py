"""A run in TensorBoard: curves of losses and accuracies, and of each layer's measurements."""

import json
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biograd.records import flatten
from biograd.training.observers.base import (
    EpochEnded,
    Measured,
    Moment,
    Observer,
    RunBegins,
    RunEnded,
    RunLeft,
)
from biograd.training.observers.scalars import of_epoch, of_measurements, of_test, require

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from biograd.training.trainer import Trainer

FOLDER = "tensorboard"
"""Where event files lie in a run's folder: ``tensorboard --logdir`` takes it, or any folder above."""


class TensorBoard(Observer):
    """Writes scalars by step, the configuration as text, and at the end the settings beside what they reached."""

    def __init__(self) -> None:
        require("tensorboard", "tensorboard")
        self._writer: SummaryWriter | None = None

    def notice(self, moment: Moment, run: "Trainer") -> None:
        """Write what has come; on the disk before a checkpoint counts on it."""
        match moment:
            case RunBegins():
                self._begin(run)
            case Measured(rows):
                self._add(of_measurements(rows), run.position.step)
            case EpochEnded(row):
                self._add(of_epoch(row), row["step"])
            case RunEnded(result):
                self._add(of_test(result), result["steps"])
                self._add_settings(run, result)
            case RunLeft() if self._writer is not None:
                self._writer.close()

    def _begin(self, run: "Trainer") -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own dependencies
            from torch.utils.tensorboard import SummaryWriter

        place, step = run.folder / FOLDER, run.position.step
        goes_on = place.exists()
        if goes_on:
            _wait_for_another_second(place)
        # What a killed process wrote of this step and later ones is hidden, as it is done again.
        self._writer = SummaryWriter(str(place), purge_step=step if goes_on else None)
        if not goes_on:
            config = json.dumps(run.config.to_json(), indent=2)
            self._writer.add_text("configuration", "\n".join(f"    {line}" for line in config.splitlines()))
        for row in run.rows:
            if row["step"] >= step:  # hidden as well, but of an epoch that is over
                self._add(of_epoch(row), row["step"])

    def _add(self, scalars: Mapping[str, float], step: int) -> None:
        assert self._writer is not None
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)
        self._writer.flush()

    def _add_settings(self, run: "Trainer", result: Mapping[str, Any]) -> None:
        """The settings that TensorBoard's table of runs shows, with the last value of each curve beside them."""
        from torch.utils.tensorboard.summary import hparams

        assert self._writer is not None
        assert self._writer.file_writer is not None
        given = flatten(run.config.to_json()).items()
        settings = {key: value for key, value in given if isinstance(value, bool | int | float | str)}
        last = {**(of_epoch(run.rows[-1]) if run.rows else {}), **of_test(result)}
        for summary in hparams(settings, last):  # in this folder, where add_hparams would begin another run
            self._writer.file_writer.add_summary(summary)


def _wait_for_another_second(place: Path) -> None:
    """TensorBoard reads event files in the order of their names, which begin with the second they were made in."""
    made = {path.name.split(".")[3] for path in place.glob("events.out.tfevents.*")}
    while str(int(time.time())) in made:
        time.sleep(0.05)
