"""Records as flat rows, for spreadsheets and pandas: a column for every entry, settings and conditions included."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from biograd.errors import UserMistake
from biograd.records.run import Run, find_runs
from biograd.records.summary import flatten
from biograd.records.trials import TrialRow, Trials, find_trials

if TYPE_CHECKING:
    import pandas

Flat = dict[str, str | int | float | bool | None]
"""A row whose values are no lists and no objects: such are JSON in it."""

What = Literal["results", "epochs", "diagnostics", "trials"]


def frame(directory: str | os.PathLike[str], what: What = "results") -> "pandas.DataFrame":
    """Records at or below a folder, or in a packed file, as pandas takes them.

    Args:
        directory: that holds runs, at any depth.
        what: ``results``, a row a run; ``epochs``, a row an epoch of a run; ``diagnostics``, a row a quantity of a
            layer; ``trials``, a row a trial of a search.

    Returns:
        A frame with a column for each entry of the rows; none of it where there is no such row. Every row says whose
        it is: its run's folder, rule, label, data set, net and seed.

    Raises:
        UserMistake: there is no such folder, no run can be read, ``what`` is something else, or there is no
            pandas.
    """
    if what not in get_args(What):
        raise UserMistake(f"there is no frame of {what!r}; there is {', '.join(get_args(What))}")
    try:
        import pandas
    except ImportError:
        raise UserMistake("a frame needs pandas: pip install 'biograd[frames]'") from None
    if what == "trials":
        rows = trial_rows(find_trials(directory))
    else:
        rows = _OF_RUNS[what](find_runs(directory), directory)
    return pandas.DataFrame(rows, columns=columns(rows))


def result_rows(runs: Iterable[Run], directory: str | os.PathLike[str]) -> list[Flat]:
    """A row a run, finished or not: how it ended, then ``config.…`` and ``environment.…``.

    Runs that were to leave the test set unread have no entries of it.

    Args:
        runs: of which.
        directory: from where their folders are named.
    """
    return [_result(run, directory) for run in runs]


def epoch_rows(runs: Iterable[Run], directory: str | os.PathLike[str]) -> list[Flat]:
    """A row for each epoch of each run; the arguments are those of `result_rows`."""
    return [{**_whose(run, directory), **_scalars(row)} for run in runs for row in run.metrics]


def diagnostic_rows(runs: Iterable[Run], directory: str | os.PathLike[str]) -> list[Flat]:
    """A row for each quantity of each layer at each measurement; the arguments are those of `result_rows`."""
    return [{**_whose(run, directory), **_scalars(row)} for run in runs for row in run.diagnostics]


def trial_rows(searches: Iterable[Trials]) -> list[Flat]:
    """A row for each trial of each search, what was searched as ``settings.…``."""
    return [
        {**_scalars(own), **_scalars(settings, "settings.")}
        for search in searches
        for own, settings in (_apart(row) for row in search.rows)
    ]


def as_csv(rows: Iterable[Flat]) -> str:
    """Flat rows for a spreadsheet, with every digit; what a row lacks is empty."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def columns(rows: Iterable[Flat]) -> list[str]:
    """All columns that rows have, those without a dot first, in the order in which they are met."""
    return sorted(
        dict.fromkeys(name for row in rows for name in row), key=lambda name: name.partition(".")[1]
    )


_OF_RUNS: Mapping[str, Callable[[Iterable[Run], str | os.PathLike[str]], list[Flat]]] = {
    "results": result_rows,
    "epochs": epoch_rows,
    "diagnostics": diagnostic_rows,
}


def _result(run: Run, directory: str | os.PathLike[str]) -> Flat:
    own = {**_whose(run, directory), "status": run.status}
    return {
        **own,
        "epochs": run.epochs_done,
        **_scalars(_read(run)),
        **own,  # a folder that was moved is where it is now
        **_scalars(flatten(run.config), "config."),
        **_scalars(run.environment, "environment."),
    }


def _read(run: Run) -> dict[str, Any]:
    """The result; of a run that was to leave the test set unread without the names of what was not measured."""
    result = dict(run.result or {})
    if run.config.get("read_test", True) is not False:
        return result
    return {
        name: value for name, value in result.items() if not name.startswith("test") or name == "test_reads"
    }


def _apart(row: TrialRow) -> tuple[dict[str, Any], dict[str, Any]]:
    """A trial without its settings, and these."""
    return {name: value for name, value in row.items() if name != "settings"}, row["settings"]


def _whose(run: Run, directory: str | os.PathLike[str]) -> Flat:
    return {
        "run": Path(os.path.relpath(run.folder, directory)).as_posix(),
        "rule": run.rule,
        "label": run.label,
        "data": run.task,
        "net": run.net,
        "seed": run.seed,
    }


def _scalars(row: Mapping[str, Any], prefix: str = "") -> Flat:
    """A row under a prefix, its lists and objects as JSON."""
    return {
        f"{prefix}{name}": json.dumps(value) if isinstance(value, list | dict) else value
        for name, value in row.items()
    }
