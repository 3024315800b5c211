"""The steps of one run, the moments that its observers receive, and where it stands."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from biograd.data import Batches
from biograd.errors import CheckpointError, NotFinite, UserMistake
from biograd.records import EpochRow
from biograd.rules.base import Credit
from biograd.training import checkpoint, checkpoint_schema, compiled, graphs
from biograd.training.checkpoint_schema import Position
from biograd.training.config import EVERY_EPOCH
from biograd.training.distributed import GradientSum, Ranks
from biograd.training.evaluation import evaluate
from biograd.training.finiteness import Finiteness
from biograd.training.observers.base import (
    AtRest,
    BatchDrawn,
    EpochEnded,
    Moment,
    Observer,
    RunBegins,
    RunLeft,
    StepTaken,
)
from biograd.training.observers.diagnostics import Diagnostics
from biograd.training.observers.named import Participant, Tracker
from biograd.training.replayed import ReplayedTeaching
from biograd.training.run_setup import RunSetup
from biograd.training.schedules import Interval
from biograd.training.seeding import random_state, restore_random_state
from biograd.training.stopwatch import Stopwatch
from biograd.training.tally import Scores, Tally
from biograd.training.user_code import require_weight

CHECK_EVERY = 100
"""Steps between two looks at the loss, each of which waits for the device."""


class Diverged(Exception):
    """A loss, a weight or what a rule computes is not finite; the message says which, and when it was noticed."""


class Trainer:
    """One run in one process, from wherever it stands to its end: it teaches, steps, validates and notifies observers.

    Args:
        setup: what it trains with.
        ranks: this process among those that train together.
        folder: where the first process writes the records.
        observers: receive every moment, in this order.

    Attributes:
        config: of the run.
        position: epochs, batches and steps done, and whether an observer has asked to stop.
        clock: seconds of training, without validation, measurements and checkpoints.
        rows: the lines of ``metrics.jsonl`` so far.
        warnings: what the result will warn of.
    """

    def __init__(
        self, setup: RunSetup, ranks: Ranks, folder: Path, observers: Sequence[Observer] = ()
    ) -> None:
        self.setup, self.ranks, self.folder, self.config = setup, ranks, folder, setup.config
        self.observers = tuple(observers)
        self.position = Position()
        self.clock = Stopwatch(setup.device)
        self.rows: list[EpochRow] = []
        self.warnings = list(setup.warnings)
        self.has_begun = False
        self._is_tested = False
        self._tally = Tally(setup.task, setup.device)
        self._gradients = GradientSum([setup.net, setup.rule], ranks)
        groups = [group for optimizer in setup.optimizers for group in optimizer.param_groups]
        self._parameters = [p for group in groups for p in group["params"]]
        self._optimizers, self._schedules = setup.optimizers, setup.schedules
        self._empties_itself = any(type(one).zero_grad is not Optimizer.zero_grad for one in self._optimizers)
        if ranks.size > 1:
            require_weight(setup.config.rule.name, setup.rule)
        self._replayed = self._captured() if setup.config.compile == "graphs" else None
        self._finiteness = Finiteness(setup, ranks)
        ranks.share_state(setup.net, setup.rule, setup.penalty)

    @property
    def test_reads(self) -> int:
        """How often the test set was read: after the epochs whose rows say so, and at the end."""
        return sum("test_loss" in row for row in self.rows) + self._is_tested

    def run(self) -> Scores | None:
        """Train to the end and read the test set, once, or not at all where the configuration says so.

        Returns:
            The scores on the test set, None where it was left unread.

        Raises:
            Diverged: a loss or a weight is not finite, or a rule says that it met such numbers.
            RunFailed: a record cannot be written.
        """
        with self._gradients:
            while not self._is_over():
                self._train_epoch()
                self._close_epoch()
        if self.setup.test is None:
            return None
        self._is_tested = True
        test = evaluate(self.setup, self.setup.test, self.ranks)
        self._refuse_divergence(test.loss, "test loss")
        return test

    def seconds_of_an_epoch(self, most: float) -> float:
        """An estimate by the first steps, which it takes: the run is spent.

        Args:
            most: seconds of steps; two more come before, which are not counted.
        """
        number, training = 0, self.setup.training
        with self._gradients:
            self._begin_epoch(0)
            for number, (x, y) in enumerate(_without_end(training), start=1):
                counted = self.clock.running() if number > 2 else contextlib.nullcontext()
                with counted, self._failures_named():
                    self._step(self.setup.inputs(x), self.setup.targets(y))
                self.position.batch = number % len(training)
                if self.clock.seconds > most:
                    break
        return len(training) * self.clock.seconds / (number - 2)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Notify the observers that the run begins, and in the end, however it comes, that it is left."""
        with contextlib.ExitStack() as left:
            for observer in self.observers:
                left.callback(observer.notice, RunLeft(), self)
            self.tell(RunBegins())
            self.has_begun = True
            yield

    def tell(self, moment: Moment) -> None:
        """Send a moment to every observer, and remember which was the first to ask to stop."""
        for observer in self.observers:
            reason = observer.notice(moment, self)
            if reason is not None and self.position.stopped is None:
                self.position.stopped = reason

    def state(self) -> dict[str, Any]:
        """All that a checkpoint holds; every process takes part, and the first one has it.

        Raises:
            Diverged: it holds numbers that are not finite, from which no run should go on.
        """
        setup, rank = self.setup, self.ranks
        rank.share_state(setup.net, setup.rule, setup.penalty)
        self._refuse_what_is_not_finite()
        self.position.seconds = self.clock.seconds
        random = random_state(setup.device)
        return {
            **checkpoint.capture(setup, self.position),
            "sums": rank.gather(self._tally.sums()),
            "random": {name: rank.gather(value) for name, value in random.items()},
            "observers": self._observed(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            CheckpointError: it is of other setup, or of another number of processes.
        """
        whole: checkpoint_schema.State = checkpoint_schema.check(checkpoint_schema.State, state)
        sums, random = self._of_processes(whole)
        mine = {name: states[self.ranks.rank] for name, states in random.items()}
        with checkpoint.refusing("random"):
            restore_random_state(mine, self.setup.device)
        self.position = checkpoint.restore(state, self.setup)
        self.clock.seconds = self.position.seconds
        self._tally.restore(sums[self.ranks.rank])
        saved = dict(state.get("observers", {}))  # none in a run that was begun before observers had a state
        for one in self.observers:
            if isinstance(one, Participant | Tracker | Diagnostics) and one.name in saved:
                one.restore(saved.pop(one.name))
        if self.ranks.first:  # others may have no observers at all
            self.warnings += [
                f"the run goes on without the observer {name!r}, whose state its checkpoint holds"
                for name in saved
            ]

    def _of_processes(self, state: checkpoint_schema.State) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
        """The sums and random numbers of every process.

        Raises:
            CheckpointError: they are of another number of processes, or none.
        """
        sums, random = state.get("sums", []), state.get("random", {})
        if len(sums) != self.ranks.size:
            raise CheckpointError(
                f"{self.folder} was trained by {len(sums)} processes, not {self.ranks.size}: resume it with as "
                "many (torchrun --nproc-per-node), so that it gets the same bits"
            )
        checkpoint_schema.check_sums(sums, self._tally)
        here = {name: [value] * self.ranks.size for name, value in random_state(self.setup.device).items()}
        checkpoint_schema.require_alike(here, random, "random")
        return sums, random

    def _observed(self) -> dict[str, Any]:
        """The states of observers that have one, by name."""
        named = [one for one in self.observers if isinstance(one, Participant | Tracker | Diagnostics)]
        return {one.name: state for one in named if (state := one.state(self))}

    def _is_over(self) -> bool:
        """Whether no epoch follows, in all processes alike; the first of them knows who has asked to stop."""
        asked = self.position.stopped is not None and self.position.epoch > 0
        is_last = self.position.epoch == self.config.epochs or asked
        return self.ranks.agree(is_last and self.position.batch == 0)

    def _train_epoch(self) -> None:
        setup, ranks, position = self.setup, self.ranks, self.position
        self._begin_epoch(position.epoch)
        parts = setup.training.epoch(position.epoch, start=position.batch, rank=ranks.rank, size=ranks.size)
        with self.clock.running(), self._failures_named():
            for x, y in parts:
                x, y = setup.inputs(x), setup.targets(y)
                self.tell(BatchDrawn(x, y))
                self._step(x, y)
                self._after_step()

    def _begin_epoch(self, epoch: int) -> None:
        self.setup.rule.begin_epoch(epoch)
        if self._replayed is not None and graphs.differs_by_epoch(self.setup.rule):
            self._replayed.begin_anew()

    def _step(self, x: Any, y: Tensor) -> None:
        """One gradient estimate of the rule, of this process's part of the batch, and one step of each optimiser."""
        share = len(y) / self.setup.training.examples(self.position.batch)
        self._empty_gradients()
        with self._gradients.over_processes():
            if share:
                self._teach(x, y, share)
        self.setup.penalty.add_gradient(self.setup.net)
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.config.clip_norm)
        for optimizer in self._optimizers:
            optimizer.step()

    def _empty_gradients(self) -> None:
        """What PyTorch's own ``zero_grad`` does, which takes twenty times as long."""
        for parameter in self._parameters:
            parameter.grad = None
        if self._empties_itself:
            for optimizer in self._optimizers:
                optimizer.zero_grad()

    def _teach(self, x: Any, y: Tensor, share: float) -> None:
        scaled = {} if self.ranks.size == 1 else {"weight": share}
        credit = (self._replayed or self._assign_credit)(x, y, **scaled)
        self._tally.add(credit._replace(output=self.setup.answer(credit.output)), y)

    def _assign_credit(self, x: Any, y: Tensor, **weight: float) -> Credit:
        setup = self.setup
        with setup.autocast():
            return setup.rule.assign_credit(setup.taught, x, y, setup.loss_fn, **weight)

    def _captured(self) -> ReplayedTeaching:
        """The same, captured as a CUDA graph."""
        if self.ranks.size > 1:
            raise UserMistake(
                "compile graphs is for one process: leave compile out where several train together (--compile false)"
            )
        return graphs.replayed(self.setup, self._assign_credit)

    def _after_step(self) -> None:
        position = self.position
        position.batch += 1
        position.step += 1
        self._move_schedules("step")
        self.tell(StepTaken())
        if position.step % CHECK_EVERY == 0:
            self._refuse_divergence(self.ranks.sum(self._tally.sums())[0].item(), "training loss")
        if position.batch < len(self.setup.training):
            self.tell(AtRest())

    def _move_schedules(self, interval: Interval) -> None:
        for schedule in self._schedules:
            if schedule.interval == interval:
                schedule.scheduler.step()

    def _close_epoch(self) -> None:
        """Validate and notify; a run that has diverged comes to no rest, so that no checkpoint holds it."""
        self.position.epoch += 1
        self.position.batch = 0
        self.ranks.share_state(self.setup.net, self.setup.rule, self.setup.penalty)
        row = self._row()
        self._move_schedules("epoch")
        self._tally = Tally(self.setup.task, self.setup.device)
        self.rows.append(row)
        self.tell(EpochEnded(row))
        self._refuse_divergence(row["train_loss"] or 0.0, "training loss")
        self._refuse_divergence(row.get("validation_loss") or 0.0, "validation loss")
        self._refuse_what_is_not_finite()
        self.tell(AtRest(is_epoch=True, is_last=self._is_over()))

    def _row(self) -> EpochRow:
        training = self._tally.scores(self.ranks.sum(self._tally.sums()))
        held_out = self.setup.validation
        validation = evaluate(self.setup, held_out, self.ranks) if held_out is not None else None
        row = {
            "epoch": self.position.epoch,
            "step": self.position.step,
            "train_loss": training.loss,
            **self.setup.metrics("train", training),
            "validation_loss": validation.loss if validation else None,
            **self.setup.metrics("validation", validation),
            **self._tested(),
            "learning_rate": self.setup.optimizer.param_groups[0]["lr"],
            "seconds": self.clock.seconds,
        }
        return cast(EpochRow, row)

    def _tested(self) -> dict[str, float | None]:
        """The scores on the test set, in a run that reads it after every epoch; nothing may depend on them."""
        if self.config.read_test != EVERY_EPOCH or self.setup.test is None:
            return {}
        test = evaluate(self.setup, self.setup.test, self.ranks)
        return {"test_loss": test.loss, **self.setup.metrics("test", test)}

    @contextlib.contextmanager
    def _failures_named(self) -> Iterator[None]:
        """Say that the run has diverged where a rule meets numbers that are not finite, and that a compiler fails."""
        try:
            yield
        except RuntimeError as error:
            if (refusal := compiled.refusal(error)) is None:
                raise
            raise refusal from error
        except NotFinite as end:
            if self.ranks.size > 1:
                raise  # other processes wait for this one's gradients: it must not live on without them
            raise Diverged(f"{end} (after step {self.position.step})") from end

    def _refuse_divergence(self, loss: float, name: str) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"the {name} is {loss} after step {self.position.step}")

    def _refuse_what_is_not_finite(self) -> None:
        """A finite loss does not show it all: at the end of an epoch, and before what could be gone on from."""
        lost = self._finiteness.first_lost()
        if lost is not None:
            raise Diverged(
                f"{lost} is not finite after step {self.position.step}: lower the learning rate, or look for inputs "
                "that are too large"
            )


def _without_end(batches: Batches) -> Iterator[tuple[Any, Tensor]]:
    """The batches of one epoch after another."""
    return itertools.chain.from_iterable(batches.epoch(number) for number in itertools.count())
