"""``biograd penalties``: what can be added to a loss, and the formula and settings of one."""

import argparse
from typing import Any

from biograd.cli.exits import DONE
from biograd.cli.output import columns, print_json
from biograd.cli.parsing import add_command


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "penalties",
        run,
        "what penalties on weights there are; with a name: its formula, settings, defaults and ranges",
        "examples:\n  biograd penalties\n  biograd penalties orthogonality\n  biograd penalties my_file.py:MyPenalty",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a penalty; without one, all are listed")


def run(arguments: argparse.Namespace) -> int:
    """List the penalties, or describe one."""
    from biograd import penalties
    from biograd.cli import describe

    if arguments.name is not None:
        return _describe(arguments.name, arguments.json)
    summaries = describe.summaries(penalties.REGISTRY)
    if arguments.json:
        print_json({"penalties": [{"name": name, "summary": line} for name, line in summaries.items()]})
    else:
        print(columns(list(summaries.items())))
        print("\nbiograd penalties NAME tells the settings of one.")
    return DONE


def _describe(name: str, as_json: bool) -> int:
    from biograd import penalties
    from biograd.cli import describe
    from biograd.training.user_code import require_penalty

    constructor = penalties.REGISTRY.find(name)
    require_penalty(name, constructor)
    if as_json:
        print_json(describe.row(name, constructor))
    else:
        print(describe.text("penalty", name, constructor))
    return DONE
