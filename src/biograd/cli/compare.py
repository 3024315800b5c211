"""``biograd compare``: several rules under one budget, over seeds, with the spread."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biograd.cli import runs
from biograd.cli.executor_flags import SECTION, add_executor, executor_of
from biograd.cli.exits import DONE, FAILED
from biograd.cli.output import print_json, print_table
from biograd.cli.parsing import add_command
from biograd.cli.run_flags import SECTIONS, SEVERAL, add_run_flags, given
from biograd.cli.train import SETTINGS_HELP
from biograd.cli.values import names, whole
from biograd.errors import UserMistake, brief

if TYPE_CHECKING:
    from biograd.executor import Executor
    from biograd.training.config import RunConfig

_EPILOG = f"""\
examples:
  biograd compare --rules bp,fa,dfa,shallow --data digits --net mlp --seeds 3
  biograd compare --rules bp,fa --data mnist --net mlp --seeds 5 --epochs 5 --rule.fa.scale 0.5
  biograd compare --rules bp,my_rule.py:MyRule --data iris --net mlp --net.widths 32 --seeds 3 --json
  biograd compare --config rules.toml --seeds 3

The runs lie in DIR/RULE-seedN, beside report.html. Calling it again with the same settings keeps the runs
that are finished and goes on with the others; more rules or seeds are added to those there are. Data, net,
loss, epochs, batch size, validation part and whether the test set is read are the same for all. A run that
diverges is recorded and named in the table; the exit code is 1 only when no run was finished.

{SETTINGS_HELP}
With several rules, --rule.RULE.NAME VALUE says whose setting it is: --rule.fa.scale 0.5. A file's settings
of a rule are for that rule alone. For all else that one rule is to have, the file has a table of its own for
it, which goes over the rest of the file; its name is what tables and folders call the runs:

  [rules.fa]
  lr = 5e-4
  rule = {{scale = 0.5}}

  [rules.dtp-alternating]
  rule = {{name = "dtp", schedule = "alternating"}}
  feedback_optimizer = {{lr = 5e-3}}

Without --rules all of them are run; --rules names them, or rules that have none. Flags are for all, and go
over tables too.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "compare",
        run,
        "several rules and seeds under one budget, with table and report",
        _EPILOG,
        (*SECTIONS, *SEVERAL, SECTION),
    )
    parser.add_argument(
        "--rules",
        type=names,
        metavar="A,B,C",
        help="which rules, or tables [rules.A] of FILE (default all of its tables)",
    )
    parser.add_argument(
        "--seeds", type=whole(1), default=3, metavar="K", help="how many seeds (≥ 1; default 3)"
    )
    parser.add_argument(
        "--seed",
        type=whole(0),
        metavar="N",
        help="the first of them: N, N + 1, … (≥ 0; default FILE's, else 0)",
    )
    add_executor(parser)
    parser.add_argument(
        "--out", metavar="DIR", help="folder of the comparison, new or begun (default runs/compare-DATA-NET)"
    )
    add_run_flags(parser, without=["rule", "seed", "label"])


def run(arguments: argparse.Namespace) -> int:
    """Train what is not trained yet, write the report, print the table."""
    flags = given(arguments)
    of_rule = settings_by_rule(rules_of(arguments), flags.pop("rule", {}))
    configs = _grid(of_rule, arguments.seeds, flags, arguments.config)
    folder = runs.chosen_folder(arguments.out) if arguments.out else runs.default_comparison(configs[0])
    return train_and_report(configs, folder, executor=executor_of(arguments), as_json=arguments.json)


def train_and_report(
    configs: "Sequence[RunConfig]",
    folder: Path,
    *,
    executor: "Executor | None" = None,
    as_json: bool = False,
    title: str | None = None,
) -> int:
    """Train the runs that are missing in a folder, and report on all that it holds."""
    from biograd import training
    from biograd.report import write_report
    from biograd.report.table import Table

    with runs.advice_when_stopped("the same command goes on where it stopped"):
        results = training.compare(configs, folder, executor=executor)
        page = write_report(folder, title)
    if as_json:
        print_json({"rows": results, "report": str(page)})
    else:
        print_table(Table.below(folder))
        print(page)
    return DONE if any(result["status"] == "done" for result in results) else FAILED


def settings_by_rule(rules: Sequence[str], typed: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Deal out what was written as ``--rule.fa.scale 0.5``; with one rule, ``--rule.scale`` will do.

    Args:
        rules: the rules that are compared, or labels.
        typed: ``{"fa.scale": "0.5"}``.

    Raises:
        UserMistake: it is not said whose setting it is, or that rule is not compared.
    """
    dealt: dict[str, dict[str, str]] = {rule: {} for rule in rules}
    for key, value in typed.items():
        rule, setting = _owner(key, rules)
        dealt[rule][setting] = value
    return dealt


def _owner(key: str, rules: Sequence[str]) -> tuple[str, str]:
    """Whose setting was written, and which; labels and settings may have dots, and the longest label counts.

    Of ``path/to/file.py:Name`` the name alone will do.
    """
    spelled = {_as_typed(called): rule for rule in rules for called in (rule, rule.rpartition(":")[2])}
    owners = [called for called in spelled if key.startswith(f"{called}.")]
    if owners:
        longest = max(owners, key=len)
        return spelled[longest], key[len(longest) + 1 :]
    if len(rules) == 1:
        return rules[0], key
    among = ", ".join(rule.rpartition(":")[2] for rule in rules)
    owner, dot, _ = key.rpartition(".")
    if dot:
        raise UserMistake(f"--rule.{key}: rule {brief(owner)} is not among those compared: {among}")
    raise UserMistake(f"--rule.{key} does not say whose: write --rule.RULE.{key}, RULE one of {among}")


def _as_typed(label: str) -> str:
    """A label as flags are read."""
    return label.replace("-", "_")


def rules_of(arguments: argparse.Namespace) -> list[str]:
    """The rules or labels that are compared.

    Raises:
        UserMistake: neither the flag nor the file says which.
    """
    from biograd import training

    rules = arguments.rules or training.labels(arguments.config)
    if not rules:
        raise UserMistake("needs --rules A,B,C, or --config FILE with a table [rules.A] for each rule")
    return rules


def _grid(
    of_rule: Mapping[str, Mapping[str, str]], seeds: int, flags: Mapping[str, Any], file: str | None
) -> "list[RunConfig]":
    from biograd import training

    return [
        config
        for rule, settings in of_rule.items()
        for config in training.grid(
            [rule], seeds, {**flags, "rule": settings}, file, source="the command line"
        )
    ]
