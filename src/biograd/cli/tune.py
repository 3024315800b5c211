"""``biograd tune``: the same search for every rule, chosen on validation data, then fresh seeds of what was chosen."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biograd.cli import runs
from biograd.cli.compare import rules_of, settings_by_rule
from biograd.cli.estimates import announcing
from biograd.cli.executor_flags import SECTION, add_executor, executor_of, jobs_of
from biograd.cli.exits import DONE, FAILED
from biograd.cli.output import print_columns, print_json, print_table
from biograd.cli.parsing import add_command
from biograd.cli.run_flags import SECTIONS, SEVERAL, add_run_flags, given
from biograd.cli.train import SETTINGS_HELP
from biograd.cli.values import names, whole
from biograd.errors import UserMistake

if TYPE_CHECKING:
    from biograd.records import Trials
    from biograd.tuning import Contender, Sobol, Tpe

_EPILOG = f"""\
examples:
  biograd tune --rules bp,fa,dtp --data digits --net mlp --trials 20 --epochs 5
  biograd tune --rules bp,my_rule.py:MyRule --data mnist --net mlp --trials 20 --epochs 10 --final-epochs 100
  biograd tune --rules fa --data iris --net mlp --trials 8 --lr 1e-3 --out runs/scale-of-fa
  biograd tune --out runs/scale-of-fa --show

What is searched, and over which range, each rule, net and optimizer says itself: `biograd rules NAME` and so on
show it. A setting that is given, by a flag or in FILE, is fixed and not searched. Every rule gets the same number
of trials, each of --epochs epochs. The points are scrambled Sobol points, a function of --seed and the number of
the trial, so that several processes on one folder, on any machines, stopped and started at will, do one search.

With --sampler tpe, trials learn from those before them and bad ones are ended early (optuna, extra `tune`). Its
trials are kept in SQLite in the folder, or for many machines in --storage postgresql://USER@HOST/NAME. Which
points are tried then depends on who is done first: tables say that it is no ranked search.

The best setting of each rule by validation data is trained again from fresh seeds; these runs alone read the test
set. Trials lie in DIR/trials/RULE/NUMBER, the others in DIR/RULE-seedN, beside report.html. Calling it again goes
on; another number of trials is refused, since what was seen of the test set would have a part in the choice.

{SETTINGS_HELP}
With several rules, --rule.RULE.NAME VALUE says whose setting it is, and tables [rules.LABEL] of FILE are as for
`biograd compare`.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "tune",
        run,
        "search each rule's settings with one budget, then train the best from fresh seeds",
        _EPILOG,
        (*SECTIONS, *SEVERAL, SECTION, "sampler"),
    )
    parser.add_argument(
        "--rules",
        type=names,
        metavar="A,B,C",
        help="which rules, or tables [rules.A] of FILE (default all of its tables)",
    )
    parser.add_argument(
        "--trials", type=whole(1), default=20, metavar="T", help="points a rule (≥ 1; default 20)"
    )
    parser.add_argument(
        "--seeds",
        type=whole(0),
        default=3,
        metavar="K",
        help="fresh seeds of what is chosen (≥ 0, 0 only searches; default 3)",
    )
    parser.add_argument(
        "--final-epochs",
        type=whole(1),
        metavar="N",
        help="epochs of what is chosen (≥ 1; default those of a trial)",
    )
    parser.add_argument(
        "--seed",
        type=whole(0),
        metavar="N",
        help="of the points and all trials; the fresh ones are N + 1, N + 2, … (≥ 0; default FILE's, else 0)",
    )
    parser.add_argument(
        "--sampler",
        choices=["sobol", "tpe"],
        default="sobol",
        help="what makes the points: sobol, the ranked track, or tpe (default sobol)",
    )
    parser.add_argument("--storage", metavar="URL", help="the same as --sampler.storage")
    parser.add_argument("--show", action="store_true", help="tell how the search stands, and train nothing")
    add_executor(parser)
    parser.add_argument(
        "--out", metavar="DIR", help="folder of the search, new or begun (default runs/tune-DATA-NET)"
    )
    add_run_flags(parser, without=["rule", "seed", "label"])


def run(arguments: argparse.Namespace) -> int:
    """Do what is left of the search, train what was chosen, write the report, print the tables."""
    if arguments.show and arguments.out:
        return _show(runs.chosen_folder(arguments.out), arguments.json)
    members = _contenders(arguments)
    folder = runs.chosen_folder(arguments.out) if arguments.out else _default(members)
    if arguments.show:
        return _show(folder, arguments.json)
    return _tuned(members, folder, arguments)


def _contenders(arguments: argparse.Namespace) -> "list[Contender]":
    from biograd import tuning

    flags = given(arguments)
    of_rule = settings_by_rule(rules_of(arguments), flags.pop("rule", {}))
    return [
        contender
        for rule, settings in of_rule.items()
        for contender in tuning.contenders(
            [rule], {**flags, "rule": settings}, arguments.config, source="the command line"
        )
    ]


def _sampler(arguments: argparse.Namespace) -> "Sobol | Tpe":
    """What makes the points.

    Raises:
        UserMistake: a setting that the sampler does not have, or a wrong value.
    """
    from biograd.settings import validate
    from biograd.tuning import Sobol, Tpe

    kinds = {"sobol": Sobol, "tpe": Tpe}
    storage = {} if arguments.storage is None else {"storage": arguments.storage}
    given = {**arguments.settings.get("sampler", {}), **storage}
    kind = kinds[arguments.sampler]
    return kind(**validate(kind, given, f"sampler {arguments.sampler!r}"))


def _default(members: "Sequence[Contender]") -> Path:
    return runs.default_search(members[0].config({}))


def _tuned(members: "Sequence[Contender]", folder: Path, arguments: argparse.Namespace) -> int:
    from biograd import records, tuning
    from biograd.report import write_report
    from biograd.report.table import Table

    seed = members[0].config({}).seed if arguments.seed is None else arguments.seed
    budget = tuning.Budget(
        trials=arguments.trials,
        seed=seed,
        seeds=arguments.seeds,
        final_epochs=arguments.final_epochs,
        sampler=_sampler(arguments),
    )
    with runs.advice_when_stopped("the same command goes on where it stopped"):
        results = tuning.tune(
            members,
            budget,
            folder,
            executor=executor_of(arguments),
            announce=announcing("tune", jobs_of(arguments)),
        )
        page = write_report(folder) if results else None
    searches = records.find_trials(folder)
    if arguments.json:
        print_json({**_rows(searches), "rows": results, "report": None if page is None else str(page)})
    else:
        _print(searches)
        if page is not None:
            print_table(Table.below(folder))
            _print_commands(folder, [one.label for one in members])
            print(page)
    is_done = not results or any(result["status"] == "done" for result in results)
    return DONE if is_done else FAILED


def _show(folder: Path, as_json: bool) -> int:
    """The state of a search.

    Raises:
        UserMistake: there is none.
    """
    from biograd import records

    searches = records.find_trials(folder)
    if not searches:
        raise UserMistake(f"there is no search in {folder}: give its folder with --out, or begin one")
    if as_json:
        print_json(_rows(searches))
    else:
        _print(searches)
    return DONE


def _rows(searches: "Sequence[Trials]") -> dict[str, Any]:
    return {
        "searches": [{**one.search, "done": len(one.done), "best": one.best} for one in searches],
        "trials": [row for one in searches for row in one.rows],
    }


def _print(searches: "Sequence[Trials]") -> None:
    from biograd.report import trials

    print_columns(trials.state_columns(searches), trials.heading(searches), trials.CAPTION)


def _print_commands(folder: Path, labels: Sequence[str]) -> None:
    """The command that trains what was chosen of each rule."""
    from biograd import records
    from biograd.report.reproduce import script
    from biograd.report.table import Table

    named = {f"{label}-seed" for label in labels}
    chosen = [run for run in records.find_runs(folder) if run.folder.name.rstrip("0123456789") in named]
    print(script(Table.of(chosen, [])))
