"""``biograd robustness RUN…``: accuracy under attack, and whether the attacks can be trusted."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biograd.cli.executor_flags import SECTION, add_executor, executor_of
from biograd.cli.exits import DONE
from biograd.cli.output import columns, note, print_json
from biograd.cli.parsing import add_command
from biograd.cli.runs import figure_folder
from biograd.cli.values import names, numbers, whole, whole_or_all
from biograd.errors import UserMistake

if TYPE_CHECKING:
    from biograd.records import Measurement, Run

_EPILOG = """\
examples:
  biograd robustness runs/compare-mnist-mlp
  biograd robustness runs/mnist-mlp-fa-seed0 --attacks fgsm,pgd --epsilons 0.05,0.1 --examples all
  biograd robustness runs/fa-seed0 --attacks transfer --transfer-from runs/bp-seed0 --json

Each finished run at or below RUN is attacked, on the same examples of its test set. fgsm and pgd follow a
gradient: the true one of the forward model, or what the rule's own feedback sends to the input; square asks for
no gradient; transfer makes its examples by PGD on another run of the same task and test examples: one of those
given, or of --transfer-from (backpropagation and the same seed first).

ε is in the units of the input before a net has it standardised: of images the pixels, scaled to [0, 1], with
clipping; of other inputs the standard deviation of each feature, without. An example counts as right if it is
right before and after, so that no curve lies above the clean accuracy.

What is measured goes to RUN/robustness.json, beside what was measured there with other settings, and into one
report: RUN/report.html, or of several RUN robustness/report.html in the folder that holds them.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "robustness",
        run,
        "accuracy of finished runs under attack, with a check of masking",
        _EPILOG,
        (SECTION,),
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run, or one that holds runs")
    parser.add_argument(
        "--attacks", type=names, metavar="A,B", help="of fgsm, pgd, square, transfer (default all)"
    )
    parser.add_argument(
        "--gradient", type=names, metavar="A,B", help="of true, rule: what fgsm and pgd follow (default both)"
    )
    parser.add_argument(
        "--epsilons",
        type=numbers,
        metavar="X,Y",
        help="sizes (≥ 0; default 0,0.02,0.05,0.1,0.2,0.3 of pixels, 0,0.1,0.2,0.5,1,2 standard deviations)",
    )
    parser.add_argument("--steps", type=whole(1), metavar="N", help="of pgd (≥ 1; default 20)")
    parser.add_argument(
        "--step-size", type=float, metavar="X", help="of pgd, in the units of ε (> 0; default 2.5 ε / steps)"
    )
    parser.add_argument("--restarts", type=whole(1), metavar="N", help="of pgd (≥ 1; default 1)")
    parser.add_argument(
        "--queries", type=whole(2), metavar="N", help="of square, an example (≥ 2; default 500)"
    )
    parser.add_argument(
        "--examples",
        type=whole_or_all(1),
        default=1000,
        metavar="N",
        help="of the test set, shuffled by the seed; or all (default 1000)",
    )
    parser.add_argument(
        "--transfer-from", metavar="RUN", help="run, or folder of runs, that transfer is made on"
    )
    add_executor(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder of the report (default RUN; of several: robustness/, beside them)",
    )
    parser.add_argument(
        "--seed", type=whole(0), metavar="N", help="of examples, starts and square (default 0)"
    )
    parser.add_argument(
        "--threads", type=whole(1), metavar="N", help="threads (default: as the run was trained)"
    )
    parser.add_argument(
        "--device", metavar="D", help="cpu, cuda, cuda:N, mps (default: as the run was trained)"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="where the data lies (default: where the run found it)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Attack every run, write the report, print what was found."""
    from biograd import records
    from biograd.robustness import Attacked, AttackSettings, candidates, measure_runs, require_test

    given = {name: getattr(arguments, flag) for name, flag in _SETTINGS.items()}
    given = {name: value for name, value in given.items() if value is not None}
    settings = AttackSettings(**given, examples=arguments.examples)
    place_of_report = _place_of_report(arguments.runs, arguments.out)
    found = [run for folder in arguments.runs for run in _finished(folder)]
    runs = list({run.folder.resolve(): run for run in found}.values())
    for one in runs:
        require_test(one)  # before any of them is attacked, as below
    sources = [arguments.transfer_from] if arguments.transfer_from else arguments.runs
    if "transfer" in settings.attacks:
        others = [other for folder in sources for other in records.find_runs(folder)]
        for one in runs:
            candidates(one, others)
    place = {name: getattr(arguments, name) for name in ("device", "threads", "data_dir")}
    attacked = [Attacked(one.folder, settings, [*map(Path, sources)], place) for one in runs]
    rows = measure_runs(attacked, executor=executor_of(arguments))
    page = _report(arguments.runs, place_of_report)
    _print(rows, page, arguments.json)
    return DONE


def _place_of_report(folders: Sequence[str], out: str | None) -> Path | None:
    """Where the report of several folders lies; None for that of one, or of one that holds the others."""
    if out is not None:
        return figure_folder(out)
    common = Path(os.path.commonpath([os.path.abspath(folder) for folder in folders]))
    if any(common == Path(os.path.abspath(folder)) for folder in folders):
        return None
    if common == Path(common.anchor):
        raise UserMistake(
            f"{' and '.join(folders)} lie in no folder together: say where the report goes, --out DIR"
        )
    return Path(os.path.relpath(common)) / "robustness"


def _report(folders: Sequence[str], place: Path | None) -> Path:
    """One page: of the runs below one folder, or below several in a place of its own."""
    from biograd import records
    from biograd.report import page

    if place is None:
        return page.write_report(min(folders, key=lambda folder: len(os.path.abspath(folder))))
    runs = {run.folder.resolve(): run for folder in folders for run in records.find_runs(folder)}
    return page.write_report_of(runs.values(), place, "Robustness")


_SETTINGS = {"gradients": "gradient"} | {
    name: name for name in ("attacks", "epsilons", "steps", "step_size", "restarts", "queries", "seed")
}
"""Settings to the flags that give them; what is not given keeps its default."""


def _finished(folder: str) -> "list[Run]":
    """The run in a folder, or the finished ones below it."""
    from biograd import records

    found = records.find_runs(folder)
    done = [run for run in found if run.status == "done"]
    for run in found:
        if run.status != "done":
            note(f"biograd robustness: {run.folder} is left out: the run is {run.status}")
    if not done:
        raise UserMistake(
            f"there is no finished run in {folder}: train one first, or go on with biograd resume"
        )
    return done


def _print(rows: "Sequence[Measurement]", page: Path, as_json: bool) -> None:
    if as_json:
        print_json({"rows": rows, "report": str(page)})
        return
    from biograd import records
    from biograd.report.robustness import printed
    from biograd.report.table import Table

    found = Table.of(records.Run.load(row["run"]) for row in rows)
    for comparison in printed(found, {row["key"] for row in rows}):
        print(comparison.heading)
        print(columns(comparison.rows))
        print(*(f"  {note}" for note in comparison.notes), sep="\n", end="\n" if comparison.notes else "")
    for row in rows:
        reasons = "; ".join(row["verdict"]["reasons"])
        print(f"{row['run']}: masking {row['verdict']['masking']}{f': {reasons}' if reasons else ''}")
    print(page)
