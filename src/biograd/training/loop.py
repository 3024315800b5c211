"""One loop for every rule: train a configuration into a folder, or go on where it stopped."""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from biograd import records
from biograd.data.seeded import derive
from biograd.errors import CheckpointError, RunFailed, UserMistake
from biograd.records import EpochRow, Result
from biograd.tasks import measured
from biograd.training import checkpoint, folder, losses, versions
from biograd.training.config import RunConfig
from biograd.training.distributed import Ranks, is_first, joined
from biograd.training.observers import Observer, RunEnded, of_run
from biograd.training.run_setup import RunSetup, build, find_device
from biograd.training.seeding import settled
from biograd.training.tally import Scores
from biograd.training.trainer import Diverged, Trainer

Hold = Callable[[Path], contextlib.AbstractContextManager[None]]


def train(
    config: RunConfig | Mapping[str, Any],
    run: str | os.PathLike[str],
    *,
    progress: bool | None = None,
    observers: Sequence[Observer] = (),
) -> Result:
    """Train a configuration and leave its records in a new folder.

    Everything is checked before the folder is made, and an observer that cannot begin leaves nothing in it. The
    caller's global random state, threads, default dtype and gradient mode are as they were afterwards. Under
    ``torchrun`` all processes call it alike.

    Args:
        config: what to train; a mapping is as good as `RunConfig.from_sources` of it.
        run: the folder, which must not hold anything.
        progress: whether to draw a progress bar; None draws it when standard error is a terminal.
        observers: receive the moments of the run, beside those that the configuration names.

    Returns:
        The content of ``result.json``. The weights that were tested are the last.

    Raises:
        UserMistake: the parts of the configuration do not fit, or the folder is in use.
        RunFailed: the run diverged (its record is written and says so), or a record cannot be written.
    """
    path = Path(run)
    config = config if isinstance(config, RunConfig) else RunConfig.from_sources(config)
    if is_first():
        folder.refuse_used(path)
    with _process(config) as ranks:
        setup, watching = build(config, ranks.device), of_run(config, ranks, progress, observers)
        with _held(folder.fresh, path, ranks):
            if ranks.first:
                folder.describe(path, setup)
            trainer = Trainer(setup, ranks, path, watching)
            try:
                return _trained(trainer)
            except UserMistake:
                if ranks.first and not trainer.has_begun:
                    folder.forget(path)
                raise


def resume(
    run: str | os.PathLike[str],
    *,
    progress: bool | None = None,
    observers: Sequence[Observer] = (),
    objects: Mapping[str, Any] | None = None,
) -> Result:
    """Go on where a run stopped; the result has the bits of a run that did not stop.

    What was recorded after the last checkpoint is dropped and done again. A run that was stopped before
    its first checkpoint starts from the beginning; a finished one is left as it is.

    Args:
        run: a folder that `train` made.
        progress: as for `train`.
        observers: those that were given to `train`, made again; where they have a state they get it back.
        objects: the rule, data, net or loss that the run was configured with, where they were objects and no names:
            ``{"net": net}``.

    Returns:
        The content of ``result.json``.

    Raises:
        UserMistake: the folder is not a run's, another process trains in it, the run is packed and unfinished, or the
            user's own files, or the examples, have changed since it began.
        CheckpointError: the checkpoint is damaged, or of another configuration.
        RunFailed: the run diverged, now or before.
    """
    path = Path(run)
    folder.require_run(path)
    config = RunConfig.load(path / records.CONFIG).with_objects(objects or {})
    with _process(config) as ranks, _held(folder.existing, path, ranks):
        if records.exists(path / records.RESULT):
            return _unless_diverged(records.read_row(path / records.RESULT, Result))
        versions.refuse_changed_files(path, config)
        watching = of_run(config, ranks, progress, observers)
        trainer = Trainer(build(config, ranks.device), ranks, path, watching)
        versions.refuse_changed_examples(path, trainer.setup.examples)
        _go_back(trainer, path)
        return _trained(trainer)


@contextlib.contextmanager
def _process(config: RunConfig) -> Iterator[Ranks]:
    """The state of the process, and the other processes, that a run needs."""
    with joined(find_device(config)) as ranks:
        seed = derive(config.seed, f"dropout {ranks.rank}")
        with settled(
            seed=seed, threads=config.threads, deterministic=config.deterministic, device=ranks.device
        ):
            yield ranks


@contextlib.contextmanager
def _held(hold: Hold, path: Path, ranks: Ranks) -> Iterator[None]:
    """The first process holds the folder, and the others begin when it does."""
    with hold(path) if ranks.first else contextlib.nullcontext():
        ranks.wait()
        yield


def _go_back(trainer: Trainer, path: Path) -> None:
    """Put the run back to its last checkpoint, and its records with it."""
    file = path / records.CHECKPOINT
    if file.exists():
        state, fingerprint = checkpoint.load(file)
        if fingerprint != trainer.config.digest():
            raise CheckpointError(
                f"{file} was made with another configuration than {path / records.CONFIG} has; "
                "put the old one back, or remove the checkpoint to start from the beginning"
            )
        try:
            trainer.restore(state)
        except CheckpointError as error:
            raise CheckpointError(f"{file}: {error}") from error
        folder.require_rows(path, trainer.position.epoch)
    if trainer.ranks.first:
        folder.cut(path, trainer.position.epoch, trainer.position.step)
        folder.describe_resumption(path, trainer.setup)
    trainer.ranks.wait()
    trainer.rows = records.read_rows(path / records.METRICS, EpochRow)


def _trained(trainer: Trainer) -> Result:
    """Run to the end and write the result, whatever the end is."""
    for warning in trainer.warnings if trainer.ranks.first else ():
        warnings.warn(warning, stacklevel=3)
    with trainer.watched():
        try:
            test, reason = trainer.run(), None
        except Diverged as end:
            test, reason = None, str(end)
        result = _result(trainer, test, reason)
        trainer.tell(RunEnded(result))
    result["warnings"] = list(trainer.warnings)  # with those of trackers that failed at the end
    if trainer.ranks.first:
        records.write_json(trainer.folder / records.RESULT, result)
    trainer.ranks.wait()
    return _unless_diverged(result)


def _result(trainer: Trainer, test: Scores | None, reason: str | None) -> Result:
    config, setup = trainer.config, trainer.setup
    is_done = reason is None
    last = trainer.rows[-1] if is_done else None
    result = {
        "rule": config.rule.label,
        "family": type(setup.rule).family,
        "label": config.title,
        "data": config.data.label,
        "net": config.net.label,
        "task": setup.task.kind,
        "loss": losses.resolved(config.loss.label, setup.task),
        "seed": config.seed,
        "epochs": trainer.position.epoch,
        "status": "done" if is_done else "diverged",
        "reason": reason,
        "stopped": trainer.position.stopped if is_done and trainer.position.epoch < config.epochs else None,
        "train_loss": last and last["train_loss"],
        "train_accuracy": None,
        **_of_epoch(last, "train", setup),
        "validation_loss": last and last.get("validation_loss"),
        "validation_accuracy": None,
        **_of_epoch(last, "validation", setup),
        "test_loss": test.loss if test else None,
        "test_accuracy": None,
        **setup.metrics("test", test),
        "test_reads": trainer.test_reads,
        "tested_weights": "last" if test else None,
        "seconds": trainer.clock.seconds,
        "parameters": sum(p.numel() for p in setup.net.parameters()),
        "steps": trainer.position.step,
        "warnings": list(trainer.warnings),
        "run": str(trainer.folder),
    }
    return cast(Result, result)


def _of_epoch(row: EpochRow | None, part: str, setup: RunSetup) -> dict[str, Any]:
    """The metrics of a part of the data at the end of an epoch; None in a run without one."""
    return {entry: row and row.get(entry) for entry in measured(setup.task.kind, part)}


def _unless_diverged(result: Result) -> Result:
    if result["status"] == "diverged":
        raise RunFailed(f"the run diverged: {result['reason']}; its record is in {result['run']}")
    return result
