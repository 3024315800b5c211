"""The steps of one run, its measurements, its checkpoints, and where it stands."""

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biograd import records
from biograd.diagnostics import measure
from biograd.errors import CheckpointError, NotFinite
from biograd.progress import Silent, shown
from biograd.training import checkpoint, folder
from biograd.training.checkpoint import Position
from biograd.training.distributed import GradientAverage, Ranks
from biograd.training.evaluation import evaluate
from biograd.training.run_setup import RunSetup
from biograd.training.schedules import Interval
from biograd.training.seeding import random_state, restore_random_state
from biograd.training.stopwatch import Stopwatch
from biograd.training.tally import Scores, Tally, means

CHECK_EVERY = 100
"""Steps between two looks at the loss, each of which waits for the device."""

MINIMUM_GAP = 1.0
"""Seconds since the last checkpoint below which the end of an epoch makes none."""


class Diverged(Exception):
    """A loss, or what a rule computes from it, is not finite; the message says which, and when it was noticed."""


class Trainer:
    """One run in one process, from wherever it stands to its end.

    Args:
        setup: what it trains with.
        ranks: this process among those that train together.
        folder: where the first process writes the records.

    Attributes:
        position: epochs, batches and steps done.
        clock: seconds of training, without validation, measurements and checkpoints.
        rows: the lines of ``metrics.jsonl`` so far.
        test_reads: how often the test set was read.
    """

    def __init__(self, setup: RunSetup, ranks: Ranks, folder: Path) -> None:
        self.setup, self.ranks, self.folder, self.config = setup, ranks, folder, setup.config
        self.position = Position()
        self.clock = Stopwatch(setup.device)
        self.rows: list[dict[str, Any]] = []
        self.test_reads = 0
        self._tally = Tally(setup.device)
        self._average = GradientAverage([setup.net, setup.rule], ranks)
        self._digest = setup.config.digest()
        self._saved = -math.inf
        groups = [group for optimizer in setup.optimizers for group in optimizer.param_groups]
        self._parameters = [p for group in groups for p in group["params"]]
        ranks.share_state(setup.net, setup.rule, setup.penalty)

    def run(self, progress: bool | None = None) -> Scores:
        """Train to the end and read the test set, once.

        Raises:
            Diverged: a loss is not finite, or a rule says that it met such numbers.
            RunFailed: a record cannot be written.
        """
        config = self.config
        description = f"{config.title} {config.data.label} {config.net.label} seed {config.seed}"
        wanted = progress if self.ranks.first else False
        with shown(description, self.position.step, self.setup.steps, wanted) as bar, self._average:
            while self.position.epoch < config.epochs:
                self._train_epoch(bar)
                self._close_epoch(bar)
        self.test_reads += 1
        test = evaluate(self.setup, self.setup.test, self.ranks)
        self._refuse_divergence(test.loss, "test loss")
        return test

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint holds.

        Raises:
            CheckpointError: it is of other setup, or of another number of processes.
        """
        count = len(state["sums"])
        if count != self.ranks.size:
            raise CheckpointError(
                f"{self.folder} was trained by {count} processes, not {self.ranks.size}: resume it with as "
                "many (torchrun --nproc-per-node), so that it gets the same bits"
            )
        self.position = checkpoint.restore(state, self.setup)
        self.clock.seconds = self.position.seconds
        self._tally.restore(state["sums"][self.ranks.rank])
        mine = {name: states[self.ranks.rank] for name, states in state["random"].items()}
        restore_random_state(mine, self.setup.device)

    def _train_epoch(self, bar: Silent) -> None:
        self.setup.rule.begin_epoch(self.position.epoch)
        with self.clock.running():
            for x, y in self.setup.training.epoch(self.position.epoch, start=self.position.batch):
                x = self.setup.inputs(x)
                with self._divergence_noticed_by_the_rule():
                    if self._is_due(self.config.diagnostics_every):
                        self._measure(x, y)
                    self._step(x, y)
                self._after_step()
                bar.reach(self.position.step)

    def _step(self, x: Tensor, y: Tensor) -> None:
        """One gradient estimate of the rule, of this process's part of the batch, and one step of each optimiser."""
        mine, targets, share = self.ranks.part(x, y)
        for optimizer in self.setup.optimizers:
            optimizer.zero_grad()
        with self._average.over(share):
            if share:
                self._teach(mine, targets)
        self.setup.penalty.add_gradient(self.setup.net)
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.config.clip_norm)
        for optimizer in self.setup.optimizers:
            optimizer.step()

    def _teach(self, x: Tensor, y: Tensor) -> None:
        setup = self.setup
        with setup.autocast():
            credit = setup.rule.assign_credit(setup.net, x, y, setup.loss_fn)
        self._tally.add(credit, y)

    def _after_step(self) -> None:
        position = self.position
        position.batch += 1
        position.step += 1
        self._move_schedules("step")
        if self._is_due(CHECK_EVERY):
            self._refuse_divergence(self.ranks.sum(self._tally.sums())[0].item(), "training loss")
        if self._is_due(self.config.checkpoint_every) and position.batch < len(self.setup.training):
            with self.clock.paused():
                self._save()

    def _move_schedules(self, interval: Interval) -> None:
        for schedule in self.setup.schedules:
            if schedule.interval == interval:
                schedule.scheduler.step()

    def _close_epoch(self, bar: Silent) -> None:
        """Validate, write the epoch's row, and make a checkpoint that holds no unfinished epoch."""
        self.position.epoch += 1
        self.position.batch = 0
        self.ranks.share_state(self.setup.net, self.setup.rule, self.setup.penalty)
        row = self._row()
        self._move_schedules("epoch")
        self._tally = Tally(self.setup.device)
        self._write_row(row)
        last = self.position.epoch == self.config.epochs
        if self.ranks.agree(last or time.monotonic() - self._saved >= MINIMUM_GAP):
            self._save()
        bar.say(self.position.step, _note(row))

    def _row(self) -> dict[str, Any]:
        training = means(self.ranks.sum(self._tally.sums()))
        held_out = self.setup.validation
        validation = evaluate(self.setup, held_out, self.ranks) if held_out is not None else None
        return {
            "epoch": self.position.epoch,
            "step": self.position.step,
            "train_loss": training.loss,
            "train_accuracy": training.accuracy,
            "validation_loss": validation.loss if validation else None,
            "validation_accuracy": validation.accuracy if validation else None,
            "validation_balanced_accuracy": validation.balanced_accuracy if validation else None,
            "learning_rate": self.setup.optimizer.param_groups[0]["lr"],
            "seconds": self.clock.seconds,
        }

    def _write_row(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self.ranks.first:
            records.append_line(self.folder / folder.METRICS, row, durable=True)
        self._refuse_divergence(row["train_loss"], "training loss")
        self._refuse_divergence(row["validation_loss"] or 0.0, "validation loss")

    def _measure(self, x: Tensor, y: Tensor) -> None:
        """Measure the rule on a whole batch, before it is taught."""
        if not self.ranks.first:
            return
        with self.clock.paused(), self.setup.autocast():
            rows = measure(self.setup.net, self.setup.rule, x, y, self.setup.loss_fn)
            where = {"step": self.position.step, "epoch": self.position.epoch + 1}
            for row in rows:
                records.append_line(self.folder / folder.DIAGNOSTICS, {**where, **row})

    def _save(self) -> None:
        setup, rank = self.setup, self.ranks
        rank.share_state(setup.net, setup.rule, setup.penalty)
        self.position.seconds = self.clock.seconds
        random = random_state(setup.device)
        state = {
            **checkpoint.capture(setup, self.position),
            "sums": rank.gather(self._tally.sums()),
            "random": {name: rank.gather(value) for name, value in random.items()},
        }
        if rank.first:
            folder.settle(self.folder)
            checkpoint.save(self.folder / folder.CHECKPOINT, state, self._digest)
        self._saved = time.monotonic()

    def _is_due(self, every: int) -> bool:
        return every > 0 and self.position.step % every == 0

    @contextlib.contextmanager
    def _divergence_noticed_by_the_rule(self) -> Iterator[None]:
        try:
            yield
        except NotFinite as end:
            if self.ranks.size > 1:
                raise  # other processes wait for this one's gradients: it must not live on without them
            raise Diverged(f"{end} (after step {self.position.step})") from end

    def _refuse_divergence(self, loss: float, name: str) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"the {name} is {loss} after step {self.position.step}")


def _note(row: dict[str, Any]) -> str:
    held_out = row["validation_accuracy"]
    accuracy = row["train_accuracy"] if held_out is None else held_out
    return f"{'training' if held_out is None else 'validation'} {accuracy:.1%}"
