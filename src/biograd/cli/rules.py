"""``biograd rules``: which learning rules there are, and the equation and settings of one."""

import argparse
import inspect
from typing import Any

from biograd.cli.exits import DONE
from biograd.cli.output import columns, print_json
from biograd.cli.parsing import add_command
from biograd.tasks import KINDS


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
        rows = [{"name": name, "summary": line, **_declared(name)} for name, line in summaries.items()]
        print_json({"rules": rows})
        return DONE
    print(columns([_HEAD, *([name, *_words(_declared(name)), line] for name, line in summaries.items())]))
    print(
        "\nweights: which of the net's own carry errors to hidden layers; waits for: what hidden layers need to learn;"
        f"\ntasks: what the targets may be, {', '.join(KINDS)}."
        "\nbiograd rules NAME shows the settings of one."
    )
    return DONE


_HEAD = ["rule", "weights", "waits for", "nets", "tasks", "what it is"]


def _declared(name: str) -> dict[str, Any]:
    """What a rule says of itself; nothing of one that another package registers and that cannot be imported."""
    from biograd import rules
    from biograd.errors import UserMistake

    try:
        return _in_words(rules.declared(name))
    except UserMistake:
        return {}


def _in_words(declared: dict[str, Any]) -> dict[str, Any]:
    """With the ranges of what is searched as text."""
    ranges = {name: str(over) for name, over in declared["searched_training"].items()}
    return {**declared, "searched_training": ranges}


def _words(declared: dict[str, Any]) -> list[str]:
    said = [str(declared.get(key) or "?") for key in ("error_weights", "waits_for", "nets")]
    tasks = declared.get("tasks")
    return [*said, "?" if tasks is None else "any" if tasks == KINDS else ", ".join(tasks)]


def _describe(name: str, as_json: bool) -> int:
    from biograd import records, rules
    from biograd.cli import describe
    from biograd.training.user_code import require_rule

    constructor = rules.REGISTRY.find(name)
    require_rule(name, constructor)
    declared = _in_words(rules.declared(name))
    training = records.flatten(dict(declared.pop("default_training")))
    if as_json:
        print_json({**describe.row(name, constructor), **declared, "default_training": training})
        return DONE
    print(describe.text("rule", name, constructor))
    if "seed" in inspect.signature(constructor).parameters:
        print("\nIn a run its seed comes from --seed, unless --rule.seed is given.")
    if training:
        print("\nTrains by default with:")
        print(columns([(_flag(key), str(value)) for key, value in training.items()]))
    if declared["searched_training"]:
        print("\nA search varies of its training, beside what is searched above and the optimizer's rate:")
        print(columns([(_flag(key), over) for key, over in declared["searched_training"].items()]))
    return DONE


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"
