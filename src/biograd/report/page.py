"""The report: one HTML file that needs nothing else, with its figures beside it for a paper."""

import base64
import dataclasses
import hashlib
import os
import warnings as python_warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from markupsafe import Markup

from biograd.errors import UserMistake
from biograd.handed import label_of
from biograd.records import (
    RESULTS_TABLE,
    TRIALS_TABLE,
    Assessment,
    Cell,
    Run,
    StudyOutcome,
    Trials,
    as_csv,
    atomic_write,
    find_trials,
    make_folder,
    read_assessment,
    read_study,
    result_rows,
    search,
    trial_rows,
    unpacked,
)
from biograd.report import assessment, checks, figures, study, tables, trials
from biograd.report.accuracy_by_cost import accuracy_by_cost
from biograd.report.activity import activity
from biograd.report.alignment import alignment
from biograd.report.cells import name_of
from biograd.report.differences import configuration, environments, warnings
from biograd.report.drawing import Drawing
from biograd.report.ladder import Step, ladder
from biograd.report.layer_panels import measuring_cost
from biograd.report.published import published
from biograd.report.rendering import templates
from biograd.report.reproduce import script
from biograd.report.robustness import robustness, robustness_tables
from biograd.report.searches import search_figures
from biograd.report.table import Table
from biograd.report.targets import targets

_Read = TypeVar("_Read")


class Beside(NamedTuple):
    """What there is beside runs.

    Attributes:
        study: what one found, None where there was none.
        searches: of settings.
        assessment: what one found, None where there was none.
    """

    study: StudyOutcome | None = None
    searches: Sequence[Trials] = ()
    assessment: Assessment | None = None

    @property
    def steps(self) -> list[Step]:
        """The rungs of an assessment, from the bottom up."""
        rungs = self.assessment["rungs"] if self.assessment else []
        return [Step(rung["title"], rung["data"], rung["net"]) for rung in rungs]


def write_report(
    directory: str | os.PathLike[str], title: str | None = None, *, validated: bool = False
) -> Path:
    """Read every run at or below ``directory`` and write ``report.html`` there, or beside a packed file.

    The page is self-contained: no network, no other file. Each figure is also written as SVG and PDF to
    ``figures/``, a line for each run to ``results.csv``, and one for each trial of a search to ``trials.csv``. The same
    records give the same bytes. What ``biograd reproduce`` or ``biograd assess`` found stands at the head. A damaged
    record is left out with a warning, and the page says so.

    Args:
        directory: a folder that holds runs, finished or not, at any depth, or a packed file. The page of a packed file
            lies in the folder that it would be unpacked to.
        title: of the page; by default the study's, or the folder's name.
        validated: whether figures, differences and leads are of the validation part also where runs have read the test
            set.

    Returns:
        The path of the page.

    Raises:
        UserMistake: there is no run, or none that can be read.
        RunFailed: a file cannot be written.
    """
    return write_and_return(directory, title, validated=validated)[0]


def write_and_return(
    directory: str | os.PathLike[str], title: str | None = None, *, validated: bool = False
) -> tuple[Path, Table]:
    """As `write_report`; also the table that the page shows, so that nobody need read the runs again.

    Raises:
        UserMistake: as there.
        RunFailed: as there.
    """
    directory = Path(directory)
    runs, left_out = search(directory)
    if not runs:
        raise UserMistake(
            f"there is no run in {directory}: train some first, or give the folder that holds them"
        )
    found, mistakes = _read(read_study, directory, None)
    assessed, others = _read(read_assessment, directory, None)
    searches, more = _read(find_trials, directory, [])
    table = Table.of(runs, [*left_out, *mistakes, *others, *more], validated=validated)
    place = unpacked(directory)
    headings = [
        *([study.heading(found)] if found else []),
        *([assessment.heading(assessed)] if assessed else []),
    ]
    title = title or next(iter(headings), place.resolve().name) or "runs"
    return _written(place, directory, title, table, Beside(found, searches, assessed)), table


def write_report_of(runs: Iterable[Run], place: Path, title: str) -> Path:
    """Write the page of runs that lie in several folders.

    Args:
        runs: what it shows, each once.
        place: the folder of ``report.html`` and ``figures/``.
        title: of the page.

    Returns:
        The path of the page.

    Raises:
        RunFailed: a file cannot be written.
    """
    return _written(place, place, title, Table.of(runs), Beside())


def _written(place: Path, directory: Path, title: str, table: Table, beside: Beside) -> Path:
    """Write page, figures and tables; folders of runs are named as they are seen from the directory."""
    sections = _sections(table, table, beside) if beside.study is None else _sections_of_study(table, beside)
    _write_figures(place / "figures", [drawing for section in sections for drawing in section["drawings"]])
    page = place / "report.html"
    html = _render(directory, title, table, sections, beside)
    atomic_write(page, html.encode("utf-8", "replace"))
    atomic_write(place / RESULTS_TABLE, as_csv(result_rows(table.runs, directory)).encode("utf-8", "replace"))
    if beside.searches:
        text = as_csv(trial_rows(beside.searches))
        atomic_write(place / TRIALS_TABLE, text.encode("utf-8", "replace"))
    return page


def _read(read: Callable[[Path], _Read], directory: Path, otherwise: _Read) -> tuple[_Read, list[str]]:
    """What is read beside the runs, or why that is left out."""
    try:
        return read(directory), []
    except UserMistake as mistake:
        python_warnings.warn(f"left out: {mistake}", stacklevel=2)
        return otherwise, [str(mistake)]


def _sections_of_study(table: Table, beside: Beside) -> list[dict[str, Any]]:
    """Figures that compare what the study does; classes one by one are drawn together or not at all."""
    cells = study.compared(table.cells)
    apart = set(map(id, study.one_by_one(cells)))
    drawn = table.regrouped(cell for cell in cells if id(cell) not in apart)
    return _sections(drawn, table.regrouped(cells), beside)


def _sections(table: Table, attacked: Table, beside: Beside) -> list[dict[str, Any]]:
    """Every group of figures, with names that are unique in the page.

    Args:
        table: what is drawn.
        attacked: what is drawn under attack, which may be more.
        beside: what there is beside runs.
    """
    groups = [
        ("published", "Measured and published", published(beside.study["rows"]) if beside.study else []),
        ("ladder", "All tasks", ladder(table, beside.steps)),
        ("accuracy", "Accuracy" if table.kinds == ["classes"] else "Metrics", figures.metric_by_rule(table)),
        ("curves", "Learning curves", figures.learning_curves(table)),
        ("alignment", "Alignment with backpropagation", alignment(table)),
        ("activity", "Activity of blocks", activity(table)),
        ("targets", "Targets, decoders and inverses", targets(table)),
        ("robustness", "Robustness", robustness(attacked)),
        ("cost", "Cost", [*accuracy_by_cost(table), *figures.cost_by_rule(table)]),
        ("search", "Search of settings", search_figures(beside.searches, table.look)),
    ]
    taken: set[str] = set()
    return [
        {"id": name, "title": title, "drawings": [_named_apart(drawing, taken) for drawing in drawings]}
        for name, title, drawings in groups
    ]


def _named_apart(drawing: Drawing, taken: set[str]) -> Drawing:
    """The drawing under a name of its own: two tasks may differ in signs that a file name cannot hold."""
    name, number = drawing.name, 1
    while name in taken:
        number += 1
        name = f"{drawing.name}-{number}"
    taken.add(name)
    return dataclasses.replace(drawing, name=name)


def _write_figures(folder: Path, drawings: Iterable[Drawing]) -> None:
    make_folder(folder)
    for drawing in drawings:
        atomic_write(folder / f"{drawing.name}.svg", drawing.svg)
        atomic_write(folder / f"{drawing.name}.pdf", drawing.pdf)


def _render(
    directory: Path,
    title: str,
    table: Table,
    sections: list[dict[str, Any]],
    beside: Beside,
) -> str:
    pages, found, searches = templates(), beside.study, beside.searches
    behaviour = pages.get_template("report.js").render()
    runs = table.runs
    return pages.get_template("report.html").render(
        title=title,
        runs=runs,
        left_out=table.left_out,
        counts={status: sum(run.status == status for run in runs) for status in ("done", "unfinished")},
        columns=tables.summary_columns(table),
        caption=tables.caption(),
        checks=checks.check_columns(table),
        checks_how=checks.CAPTION,
        study=found and _study(found, table),
        assessment=beside.assessment and _assessment(beside.assessment),
        sections=sections,
        searched=trials.state_columns(searches) if searches else [],
        searched_how=f"{trials.heading(searches)}; {trials.CAPTION}" if searches else "",
        attacked=robustness_tables(table.regrouped(study.compared(table.cells)) if found else table),
        without_part=_listed(directory, table, lambda run: run.status != "done"),
        stopped_early=_listed(directory, table, lambda run: run.status == "done" and run.stopped is not None),
        configuration=configuration(table),
        environments=environments(table),
        measuring_cost=measuring_cost(table),
        warnings=warnings(table),
        script=script(table),
        behaviour=Markup(behaviour),
        behaviour_hash=base64.b64encode(hashlib.sha256(behaviour.encode()).digest()).decode(),
    )


def _study(found: StudyOutcome, table: Table) -> dict[str, Any]:
    """What the head of the page shows of a study."""
    return {
        "reference": found["reference"],
        "rows": study.measured_columns(found["rows"]),
        "claims": study.claim_columns(found["claims"]) if found["claims"] else [],
        "caption": study.CAPTION,
        "apart": sorted({label_of(cell.data) for cell in study.one_by_one(table.cells)}),
    }


def _assessment(found: Assessment) -> dict[str, Any]:
    """What the head of the page shows of an assessment."""
    return {
        "verdicts": assessment.verdict_columns(found),
        "caption": assessment.caption(found),
        "across": assessment.across_columns(found["across"]),
        "across_how": assessment.ACROSS,
        "budgets": assessment.budgets(found["rungs"]),
        "left_out": assessment.left_out(found["rungs"]),
    }


def _listed(directory: Path, table: Table, wanted: Callable[[Run], bool]) -> list[dict[str, Any]]:
    """Single runs, each with what a reader wants to know of one that did not go as the others."""
    return [_line(directory, cell, run) for cell in table.cells for run in cell.runs if wanted(run)]


def _line(directory: Path, cell: Cell, run: Run) -> dict[str, Any]:
    return {
        "name": name_of(cell),
        "task": f"{label_of(cell.data)} · {label_of(cell.net)}",
        "seed": run.seed,
        "status": run.status,
        "reason": _reason(run),
        "epochs": f"{run.epochs_done} of {run.config.get('epochs', '?')}",
        "folder": Path(os.path.relpath(run.folder, directory)).as_posix(),
    }


def _reason(run: Run) -> str:
    if run.result is None:
        return "no result yet: it is still running, or was stopped; biograd resume goes on with it"
    return run.result["reason"] or run.stopped or "no reason was recorded"
