"""``biograd assess RULE…``: does a rule scale? The ladder from Iris to ImageNet, with a verdict a rung."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biograd.cli import runs
from biograd.cli.compare import settings_by_rule
from biograd.cli.estimates import announcing, in_words
from biograd.cli.executor_flags import SECTION, add_executor, executor_of, jobs_of
from biograd.cli.exits import DONE, FAILED
from biograd.cli.output import print_columns, print_json, progress_note
from biograd.cli.parsing import add_command
from biograd.cli.values import names, whole
from biograd.handed import label_of

if TYPE_CHECKING:
    from biograd.records import Assessment

_EPILOG = """\
examples:
  biograd assess fa
  biograd assess my_rule.py:MyRule --jobs 2
  biograd assess dfa dtp --rungs iris,digits
  biograd assess dfa dtp --rungs 'mnist-*' --budget full --jobs 2
  biograd assess dfa --budget full --estimate
  biograd assess dtp --rule.alpha 0.1 --out runs/dtp-at-a-tenth

The ladder: iris, digits, mnist-fc, mnist-lc, fashion-fc, cifar-fc, cifar-lc, cifar-resnet20, imagenet-resnet18
(fc and lc: fully and locally connected). On each rung the rules stand beside three baselines: bp; shallow, of
which only the last block learns; and frozen, of which all learns but the hidden matrices. All of them are
searched alike, over what each declares, and chosen on validation data (see `biograd tune`); fresh seeds of what
was chosen read the test set once. A setting that is given is fixed and not searched.

The verdict of a rung: accuracy, the gap to bp, the lead over frozen and shallow, each with its interval; how
likely a run is better; seconds; bytes that a step keeps; and checks of growth, gradients and teaching signals.
The quick budget, some minutes a rule, leaves out the upper rungs and judges nothing; full takes days, and says
how long before it begins. A rung whose data is not there is left out, and the table says so.

Runs lie in DIR/RUNG/RULE-seedN, trials beside them, report.html and assessment.json in DIR. Calling it again
keeps what is finished and goes on with the rest; another call may add rules, rungs or seeds. A run that diverges
is counted in the table; the exit code is 1 only when no rule of the call has a number.
"""

TRYING = (
    "biograd assess: a few steps of every rule on every rung come first: can it teach, how long does it take"
)


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "assess",
        run,
        "does a rule scale? searched alike, beside backpropagation and frozen nets, from Iris to ImageNet",
        _EPILOG,
        ("rule", SECTION),
    )
    parser.add_argument(
        "rules",
        nargs="+",
        metavar="RULE",
        help="names of `biograd rules`, or path/to/file.py:Name; --rule.NAME VALUE, or of several "
        "--rule.RULE.NAME VALUE, fixes a setting",
    )
    parser.add_argument(
        "--budget", choices=["quick", "full"], default="quick", help="how much is trained (default quick)"
    )
    parser.add_argument(
        "--rungs",
        type=names,
        action="extend",
        metavar="A,B",
        help="only these rungs; * in a name stands for anything (default all)",
    )
    parser.add_argument(
        "--estimate", action="store_true", help="say how long it would take, and train nothing"
    )
    parser.add_argument(
        "--seeds", type=whole(1), metavar="K", help="seeds a rule (≥ 1; default the budget's)"
    )
    add_executor(parser)
    parser.add_argument(
        "--out", metavar="DIR", help="folder of the assessment, new or begun (default runs/assess-BUDGET)"
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
    """Train what is not trained yet, write the report, print the verdicts; or say how long that would take."""
    dealt = settings_by_rule(arguments.rules, arguments.settings.get("rule", {}))
    rules = [{"name": name, **dealt[name]} for name in arguments.rules]
    places = {"data_dir": arguments.data_dir, "device": arguments.device}
    machine = {key: value for key, value in places.items() if value is not None}
    folder = runs.figure_folder(arguments.out or f"runs/assess-{arguments.budget}")
    if arguments.estimate:
        return _estimate(rules, folder, machine, arguments)
    found, page = _assessed(rules, folder, machine, arguments)
    if arguments.json:
        print_json({**found, "report": str(page)})
    else:
        _print(found)
        print(page)
    asked = {label_of(name) for name in arguments.rules}
    return DONE if any(row["accuracy"]["n"] and row["rule"] in asked for row in found["verdicts"]) else FAILED


def _assessed(
    rules: list[dict[str, Any]], folder: Path, machine: dict[str, Any], arguments: argparse.Namespace
) -> "tuple[Assessment, Path]":
    from biograd.report import write_report
    from biograd.studies.assess import assess

    progress_note(TRYING)
    with runs.advice_when_stopped("the same command goes on where it stopped"):
        found = assess(
            rules,
            folder,
            budget=arguments.budget,
            rungs=arguments.rungs or "*",
            seeds=arguments.seeds,
            executor=executor_of(arguments),
            machine=machine,
            announce=announcing("assess", jobs_of(arguments)),
        )
        return found, write_report(folder)


def _estimate(
    rules: list[dict[str, Any]], folder: Path, machine: dict[str, Any], arguments: argparse.Namespace
) -> int:
    from biograd.studies.assess import plan
    from biograd.studies.cells import estimated
    from biograd.training.estimate import total

    jobs = jobs_of(arguments)
    progress_note(TRYING)
    executor = executor_of(arguments)
    climbs = plan(
        rules,
        folder,
        budget=arguments.budget,
        rungs=arguments.rungs or "*",
        machine=machine,
        executor=executor,
    )
    options = {"seeds": arguments.seeds, "executor": executor}
    by_rung = {
        climb.rung.name: estimated(climb.cells, folder, arguments.budget, machine, **options)
        for climb in climbs
        if climb.cells
    }
    left_out = {climb.rung.name: climb.left_out for climb in climbs if climb.left_out}
    left = {rung: found for rung, found in by_rung.items() if found is not None}
    if arguments.json:
        rows = [{"rung": rung, **found._asdict()} for rung, found in left.items()]
        print_json({"rungs": rows, "left_out": left_out, "seconds": sum(row["seconds"] for row in rows)})
        return DONE
    for rung, found in left.items():
        print(in_words(found, f"assess, {rung}", jobs))
    if len(left) > 1:
        print(in_words(total(left.values()), "assess, all of them", jobs))
    if not left:
        print("nothing is left to train")
    for rung, reason in left_out.items():
        print(f"left out is {rung}: {reason}")
    for climb in climbs:
        for rule, reason in climb.reasons.items():
            print(f"left out of {climb.rung.name} is {rule}: {reason}")
    return DONE


def _print(found: "Assessment") -> None:
    """The verdicts, what all rungs say together, and what was left out."""
    from biograd.report import assessment

    print_columns(assessment.brief_columns(found), assessment.heading(found), assessment.BRIEF)
    if found["across"]:
        print_columns(assessment.across_columns(found["across"]), "All rungs")
    for line in assessment.left_out(found["rungs"]):
        print(f"left out is {line}")
