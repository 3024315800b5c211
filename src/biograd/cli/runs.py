"""Where a command puts its run, what it says when the run is stopped, and what it prints at the end."""

import contextlib
import os
import re
import shlex
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from biograd.cli.output import print_json
from biograd.errors import RunFailed, UserMistake, unwritable
from biograd.printable import printable
from biograd.tasks import METRICS, PARTS, Kind

if TYPE_CHECKING:
    from biograd.records import Result
    from biograd.training.config import RunConfig


def default_folder(config: "RunConfig") -> Path:
    """``runs/<data>-<net>-<rule or label>-seed<k>``."""
    return Path("runs") / _slug(f"{_task(config)}-{config.title}-seed{config.seed}")


def default_comparison(config: "RunConfig") -> Path:
    """``runs/compare-<data>-<net>``."""
    return Path("runs") / _slug(f"compare-{_task(config)}")


def default_search(config: "RunConfig") -> Path:
    """``runs/tune-<data>-<net>``."""
    return Path("runs") / _slug(f"tune-{_task(config)}")


def chosen_folder(path: str) -> Path:
    """The folder that ``--out`` names, or a packed file, of which finished runs are read.

    Raises:
        UserMistake: it cannot be a folder, because it or what it lies in is another file.
    """
    from biograd.records import is_packed

    folder = Path(path).expanduser()
    if is_packed(folder):
        return folder
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise UserMistake(f"--out {path}: {there} is a file; give a folder")
    return folder


def figure_folder(path: str) -> Path:
    """The folder that ``--out`` names, for figures and rows that are only written there.

    Raises:
        UserMistake: it cannot be a folder, or would lie in a packed file.
    """
    from biograd.records import refuse_packed

    folder = chosen_folder(path)
    refuse_packed(folder)
    return folder


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """A new empty folder of this name, or with ``-2``, ``-3``, … behind it; gone again if it stays empty.

    Making it is what claims it, so that processes started side by side get folders of their own.
    """
    if not is_first_process():  # of a data-parallel run: only the first writes
        yield folder
        return
    mine = _made(folder)
    try:
        yield mine
    finally:
        with contextlib.suppress(OSError):  # it holds a run
            os.removedirs(mine)


@contextlib.contextmanager
def advice_when_stopped(advice: str, folder: Path | None = None) -> Iterator[None]:
    """Say how to go on when the work inside is interrupted, or fails for want of space.

    Args:
        advice: what to do.
        folder: of a run, when there may be none to go on with: it has not begun, or it has ended.
    """
    try:
        yield
    except (KeyboardInterrupt, OSError, RunFailed) as error:
        if folder is None or _is_unfinished(folder):
            error.add_note(advice)
        raise


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say how to go on with a run that is stopped."""
    with advice_when_stopped(f"go on with: biograd resume {shlex.quote(str(folder))}", folder):
        yield


@contextlib.contextmanager
def failure_as_json(folder: Path, wanted: bool) -> Iterator[None]:
    """Print the record of a run that diverged before its error goes on."""
    try:
        yield
    except RunFailed:
        from biograd.records import RESULT, Result, exists, read_row

        if wanted and exists(folder / RESULT):
            print_json(read_row(folder / RESULT, Result))
        raise


def announce(result: "Result", as_json: bool) -> None:
    """Print the result of a run; of a data-parallel one, once."""
    if not is_first_process():
        return
    if as_json:
        print_json(result)
        return
    label, data, net = (
        printable(name) for name in (result.get("label", result["rule"]), result["data"], result["net"])
    )
    print(f"{label} on {data} with {net}, seed {result['seed']}: ", end="")
    print(f"epochs {result['epochs']}, steps {result['steps']}, {result['seconds']:.1f} s")
    if stopped := result.get("stopped"):
        print(f"  stopped by {printable(stopped)}")
    for part in PARTS:
        _announce_part(part, result)
    print(printable(result["run"]))


def _announce_part(part: str, result: "Result") -> None:
    """A line on a part of the data, none where it was not measured."""
    from biograd.records import number

    if (loss := number(result, f"{part}_loss")) is None:
        return
    kind: Kind = result.get("task", "classes")
    values = [(metric, number(result, f"{part}_{metric.name}")) for metric in METRICS[kind]]
    told = [f"{metric.title} {metric.spelled(value)}" for metric, value in values if value is not None]
    print(f"  {part:<10}  {'   '.join([f'loss {loss:.4f}', *told])}")


def is_first_process() -> bool:
    """Whether this process speaks for the run; ``torchrun`` starts several."""
    return os.environ.get("RANK", "0") == "0"


def _is_unfinished(folder: Path) -> bool:
    from biograd.records import CONFIG, RESULT

    return (folder / CONFIG).is_file() and not (folder / RESULT).exists()


def _task(config: "RunConfig") -> str:
    """What is learned by which net; a class against the rest goes with the data."""
    data = config.data.label if config.one_vs_rest is None else f"{config.data.label}-{config.one_vs_rest}"
    return f"{data}-{config.net.label}"


def _made(folder: Path) -> Path:
    for number in count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise unwritable(candidate, error) from error
        return candidate
    raise AssertionError("unreachable: the numbers do not end")


def _slug(name: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")
