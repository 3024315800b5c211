"""A run's folder while a process trains in it: one process at a time, and never over another run."""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from biograd import records
from biograd.errors import CheckpointError, UserMistake, unwritable
from biograd.records import (
    CHECKPOINT,
    CONFIG,
    DIAGNOSTICS,
    ENVIRONMENT,
    METRICS,
    RESULT,
    DiagnosticsRow,
    Environment,
    EpochRow,
)
from biograd.training import examples, versions
from biograd.training.run_setup import RunSetup

_LOCK = ".lock"
_UNFINISHED = re.compile(rf"\.{CONFIG}\.\w+\.tmp")


class Taken(UserMistake):
    """The folder is another process's: it trains there, or has begun a run there since one looked."""


def refuse_used(folder: Path) -> None:
    """Refuse a folder that holds anything.

    Raises:
        UserMistake: it is no folder, not empty, or in a packed file.
    """
    records.refuse_packed(folder)
    if folder.is_dir():
        _refuse_content(folder)
    elif folder.exists():
        raise UserMistake(f"{folder} is a file; a run needs a folder of its own: give another one")


@contextlib.contextmanager
def fresh(folder: Path) -> Iterator[None]:
    """Make a run's folder and hold its lock.

    Raises:
        Taken: it holds a run, or another process trains in it.
        UserMistake: it holds anything else.
    """
    records.make_folder(folder)
    with _locked(folder):
        _refuse_content(folder)
        records.remove_leftovers(folder)
        yield


@contextlib.contextmanager
def existing(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, in which a killed process may have left temporary files.

    A finished run that is packed needs none: nobody can write to it.

    Raises:
        Taken: another process trains in it.
        UserMistake: the folder is not a run's, or the run is packed and unfinished.
    """
    require_run(folder)
    if records.is_packed(folder):
        if not records.exists(folder / RESULT):
            records.refuse_packed(folder)
        yield
        return
    with _locked(folder):
        records.remove_leftovers(folder)
        yield


def is_taken(folder: Path) -> bool:
    """Whether a process trains in a run's folder."""
    if not (folder / _LOCK).exists():
        return False
    try:
        with _locked(folder):
            return False
    except Taken:
        return True


def require_run(folder: Path) -> None:
    """Refuse a folder that `fresh` did not make.

    Raises:
        UserMistake: the folder holds no configuration.
    """
    if not records.exists(folder / CONFIG):
        raise UserMistake(f"{folder} is no run's folder: it has no {CONFIG}; give one that train wrote")


def describe(folder: Path, setup: RunSetup) -> None:
    """Write what the run is, which makes the folder a run's, and what it runs on."""
    records.write_json(folder / CONFIG, setup.config.to_json())
    records.write_json(folder / ENVIRONMENT, _environment(setup))


def forget(folder: Path) -> None:
    """Take back what `describe` wrote, and observers since, of a run that could not begin.

    The folder held nothing when `fresh` locked it, so that all of it is the run's; it can be given again.
    """
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif path != folder / _LOCK:
            path.unlink()


def describe_resumption(folder: Path, setup: RunSetup) -> None:
    """Note in the environment where the run goes on, if that is not where it was."""
    now, file = _environment(setup), folder / ENVIRONMENT
    if not file.exists():  # killed before it was written
        records.write_json(file, now)
        return
    was = records.read_row(file, Environment)
    resumed = was.pop("resumed", [])
    if now != [was, *resumed][-1]:
        resumed = [*resumed, now]
        records.write_json(file, {**was, "resumed": resumed})


def require_rows(folder: Path, epoch: int) -> None:
    """Refuse to go on where rows are gone that a checkpoint counts as written.

    Raises:
        CheckpointError: the metrics do not hold each epoch up to this one, once.
    """
    there = [row["epoch"] for row in records.read_rows(folder / METRICS, EpochRow)]
    if [number for number in there if number <= epoch] != list(range(1, epoch + 1)):
        raise CheckpointError(
            f"{folder / METRICS} lacks epochs: the checkpoint has finished {epoch}, the file should hold a "
            f"line for each; restore it, or remove {CHECKPOINT} to start the run from the beginning"
        )


def cut(folder: Path, epoch: int, step: int) -> None:
    """Drop the rows that a killed process wrote after its last checkpoint.

    Args:
        folder: the run's.
        epoch: epochs that the checkpoint has finished.
        step: steps that it has taken; what was measured before the next one is measured again.

    Raises:
        UserMistake: a row is none; nothing is dropped then.
    """
    records.read_rows(folder / METRICS, EpochRow)
    records.read_rows(folder / DIAGNOSTICS, DiagnosticsRow)
    records.truncate_lines(folder / METRICS, lambda row: row["epoch"] <= epoch)
    records.truncate_lines(folder / DIAGNOSTICS, lambda row: row["step"] < step)


def sync_diagnostics(folder: Path) -> None:
    """Wait until the measured rows are on the disk, so that no checkpoint is ahead of them."""
    path = folder / DIAGNOSTICS
    if path.exists():
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(path, error) from error


def _environment(setup: RunSetup) -> Environment:
    """Where the run is, and which versions of files and examples it is made of."""
    found: Environment = {
        **records.environment(),
        "task": setup.task.kind,
        "files": versions.of_files(setup.config),
    }
    if setup.examples is not None:
        found["examples" if examples.is_official(setup.config) else "examples_of_seed"] = setup.examples
    return found


def _refuse_content(folder: Path) -> None:
    """Refuse a folder with anything but what a process leaves that is killed before it has a configuration."""
    held = {path.name for path in folder.iterdir()}
    foreign = sorted(name for name in held if name != _LOCK and not _UNFINISHED.fullmatch(name))
    if CONFIG in held:
        raise Taken(f"{folder} holds a run already: resume it, or give another folder")
    if foreign:
        raise UserMistake(f"{folder} is not empty (it holds {foreign[0]!r}): give a new folder for the run")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock that the system lets go of when the process dies, however it dies."""
    with contextlib.ExitStack() as held:
        try:
            file = held.enter_context(open(folder / _LOCK, "ab"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Taken(f"another process trains in {folder}: wait for it, or give another folder") from None
        except OSError as error:
            raise unwritable(folder / _LOCK, error) from error
        yield
