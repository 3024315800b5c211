"""``biograd demo``: several rules on embedded data in under a minute, from nothing to a report."""

import argparse
from typing import Any

from biograd.cli import runs
from biograd.cli.compare import train_and_report
from biograd.cli.parsing import add_command

_RULES = ("bp", "wm", "usf", "fa", "dfa", "shallow")
_SEEDS = range(3)
_TRAINING = {
    "data": "digits",
    "net": {"name": "mlp", "widths": (128, 128)},
    "epochs": 10,
    "batch_size": 50,
    "diagnostics_every": 40,
}

_EPILOG = f"""\
examples:
  biograd demo
  biograd demo --out /tmp/demo

Trains {", ".join(_RULES)} from {len(_SEEDS)} seeds each on scikit-learn's digits, 1,797 images of 8×8 that come with
the installation, and measures the angle between each rule's update and backpropagation's on the way. Needs
no network. The folder holds the runs and report.html, which opens in any browser. Calling it again goes on
where it was stopped, and leaves finished runs as they are.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "demo",
        run,
        "trains several rules on embedded data in under a minute, and reports",
        _EPILOG,
    )
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="where to (default runs/demo)")


def run(arguments: argparse.Namespace) -> int:
    """Train, report, print."""
    from biograd import training

    configs = training.grid(_RULES, _SEEDS, _TRAINING)
    title = "Learning rules beside backpropagation: digits"
    return train_and_report(configs, runs.chosen_folder(arguments.out), as_json=arguments.json, title=title)
