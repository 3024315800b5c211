"""``biograd reproduce STUDY``: a study's cells trained under its budget, measured beside published."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biograd.cli import runs
from biograd.cli.estimates import announcing
from biograd.cli.executor_flags import DEFAULTS, SECTION, add_executor, executor_of, jobs_of
from biograd.cli.exits import DONE, FAILED
from biograd.cli.output import columns, print_columns, print_json
from biograd.cli.parsing import add_command
from biograd.cli.run_flags import several
from biograd.cli.values import whole
from biograd.errors import UserMistake

if TYPE_CHECKING:
    from biograd.records import StudyOutcome, StudyRow
    from biograd.studies.study import Study

_OF_A_STUDY = {
    "cell": "*",
    "budget": "quick",
    "seeds": None,
    **DEFAULTS,
    "out": None,
    "data_dir": None,
    "device": None,
    "track": None,
}
"""The flags that go with a study, and their defaults."""

_EPILOG = """\
examples:
  biograd reproduce
  biograd reproduce local-stdp
  biograd reproduce local-stdp --cell 'iris/*' --budget full --jobs 2
  biograd reproduce my_study.py:my_study --json

Without STUDY the studies are listed. A study is a set of cells (a rule, a net and a data set each), the groups
of them that its table shows, the published numbers that stand beside these, and claims that are judged at the
full budget. The quick budget takes minutes: fewer seeds, epochs and cells, for a look at what is done; its rows
say so and show no difference. The paper's budget is all that the paper did, where that is more. How long the runs
will take is said before the first one, by a few steps of each.

The runs lie in DIR/CELL-seedN, beside report.html and study.json. Calling it again keeps the runs that are
finished and goes on with the others; another --cell or more --seeds add to those there are. A run that diverges
is recorded and counted in the table; the exit code is 1 only when no run was finished.

--cell takes a pattern of names of cells: * stands for anything, [0-9] for a digit; quote it.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "reproduce",
        run,
        "a study: measured beside published, with table and report",
        _EPILOG,
        (SECTION, "track"),
    )
    parser.add_argument(
        "study", nargs="?", metavar="STUDY", help="its name, or path/to/file.py:NAME (default: list them)"
    )
    parser.add_argument(
        "--cell", default="*", metavar="GLOB", help="only the cells whose names fit (default all)"
    )
    parser.add_argument(
        "--budget",
        choices=["quick", "full", "paper"],
        default="quick",
        help="how much is trained (default quick)",
    )
    parser.add_argument(
        "--seeds", type=whole(1), metavar="K", help="seeds a cell (≥ 1; default the budget's)"
    )
    add_executor(parser)
    parser.add_argument(
        "--track",
        action="append",
        metavar="NAME,…",
        help="where else to show the runs: tensorboard, mlflow or path/to/file.py:Name; repeatable (default nowhere)",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder of the study, new or begun (default runs/STUDY-BUDGET)"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of the data's official files (default $BIOGRAD_DATA, else the user's cache)",
    )
    parser.add_argument(
        "--device", metavar="DEVICE", help="where to train (auto, cpu, cuda, cuda:N or mps; default auto)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train what is not trained yet, write the report, print the tables; or list the studies."""
    from biograd import studies

    if arguments.study is None:
        return _list(arguments)
    study = studies.find(arguments.study)
    folder = runs.chosen_folder(arguments.out or str(Path("runs") / f"{study.name}-{arguments.budget}"))
    outcome, page = _reproduced(study, folder, arguments)
    if arguments.json:
        print_json({**outcome, "report": str(page)})
    else:
        _print(outcome)
        print(page)
    return DONE if any(_done(row) for row in outcome["rows"]) else FAILED


def _reproduced(study: "Study", folder: Path, arguments: argparse.Namespace) -> "tuple[StudyOutcome, Path]":
    from biograd.report import write_report
    from biograd.studies.reproduce import reproduce

    trackers = several(arguments.track or [], arguments.settings.get("track", {}), "track")
    machine = {"data_dir": arguments.data_dir, "device": arguments.device, "track": trackers or None}
    attacks = "; attacks come on top" if study.robustness else ""
    with runs.advice_when_stopped("the same command goes on where it stopped"):
        outcome = reproduce(
            study,
            folder,
            budget=arguments.budget,
            pattern=arguments.cell,
            seeds=arguments.seeds,
            executor=executor_of(arguments),
            machine={key: value for key, value in machine.items() if value is not None},
            announce=announcing("reproduce", jobs_of(arguments), attacks),
        )
        return outcome, write_report(folder)


def _done(row: "StudyRow") -> int:
    """How many runs of a group are done."""
    return row["runs"] - row["diverged"] - row["unfinished"]


def _print(outcome: "StudyOutcome") -> None:
    """The table, and the claims below it."""
    from biograd.report import study

    print_columns(study.measured_columns(outcome["rows"]), study.heading(outcome), study.CAPTION)
    if outcome["claims"]:
        print_columns(study.claim_columns(outcome["claims"]), "Claims")


def _list(arguments: argparse.Namespace) -> int:
    """Name the studies.

    Raises:
        UserMistake: a flag was given that only a study can do with.
    """
    from biograd import studies
    from biograd.cli import describe

    typed = [flag for flag, default in _OF_A_STUDY.items() if getattr(arguments, flag) != default]
    for flag in (
        *typed,
        *(f"{section}.{next(iter(given))}" for section, given in arguments.settings.items()),
    ):
        raise UserMistake(f"--{flag.replace('_', '-')} needs a STUDY; known: {', '.join(studies.names())}")
    summaries = describe.summaries(studies.REGISTRY)
    if arguments.json:
        print_json({"studies": [{"name": name, "summary": line} for name, line in summaries.items()]})
    else:
        print(columns(list(summaries.items())))
        print("\nbiograd reproduce NAME trains one.")
    return DONE
