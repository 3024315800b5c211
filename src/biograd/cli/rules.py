"""``biograd rules``: which learning rules there are, and the equation and settings of one."""

import argparse
import inspect
from typing import Any

from biograd.cli.exits import DONE
from biograd.cli.output import columns, print_json
from biograd.cli.parsing import add_command


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "rules",
        run,
        "what learning rules there are; with a name: its equation, settings, defaults and ranges",
        "examples:\n  biograd rules\n  biograd rules fa\n  biograd rules my_rule.py:MyRule",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a rule; without one, all are listed")


def run(arguments: argparse.Namespace) -> int:
    """List the rules, or describe one."""
    from biograd import rules
    from biograd.cli import describe

    if arguments.name is not None:
        return _describe(arguments.name, arguments.json)
    summaries = describe.summaries(rules.REGISTRY)
    if arguments.json:
        print_json({"rules": [{"name": name, "summary": line} for name, line in summaries.items()]})
    else:
        print(columns(list(summaries.items())))
        print("\nbiograd rules NAME shows the settings of one.")
    return DONE


def _describe(name: str, as_json: bool) -> int:
    from biograd import records, rules
    from biograd.cli import describe
    from biograd.training.user_code import require_rule

    constructor = rules.REGISTRY.find(name)
    require_rule(name, constructor)
    training = records.flatten(dict(getattr(constructor, "default_training", {})))
    if as_json:
        print_json({**describe.row(name, constructor), "default_training": training})
        return DONE
    print(describe.text("rule", name, constructor))
    if "seed" in inspect.signature(constructor).parameters:
        print("\nIn a run its seed comes from --seed, unless --rule.seed is given.")
    if training:
        print("\nTrains by default with:")
        print(columns([(f"--{key.replace('_', '-')}", str(value)) for key, value in training.items()]))
    return DONE
