"""The flags by which the commands of ``biograd theory`` set a two-layer simulation."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biograd.cli.executor_flags import add_executor
from biograd.cli.values import numbers, whole

if TYPE_CHECKING:
    from biograd.theory.settings import SimulationSettings

_FOLDER = "runs/theory"

_SETTINGS = (
    *("activation", "width", "schedule", "horizon", "method", "units", "learning_rate", "examples"),
    *("features", "normalize", "seed", "steps", "max_steps", "precision"),
)
"""The flags that are settings of a simulation, where a command has them."""

EPILOG = """\
f(x) = 1/√p Σ β_r ψ(w_r·x), trained on all examples at once; b stands in for β on the way back (--method bp: β itself).
X, W, β and b are standard normal; the target is linear for a linear network, else a teacher of the same kind.
--units published: loss is the mean squared error, λβ is added to its gradient, η is 1e-3 (linear), 1e-2 (relu),
1e-1 (tanh) or 4e-1 (sigmoid). --units paper: loss is half the sum of squares, η' = 2η/n, λ' = λn/2.
"""


def add_network(parser: argparse.ArgumentParser) -> None:
    """Declare what the network, its data and the algorithm are."""
    parser.add_argument(
        "--activation", default="tanh", metavar="A", help="linear, relu, tanh or sigmoid (default tanh)"
    )
    parser.add_argument("--method", default="fa", metavar="M", help="fa or bp (default fa)")
    parser.add_argument(
        "--examples", type=whole(1), default=50, metavar="N", help="n, examples (≥ 1; default 50)"
    )
    parser.add_argument(
        "--features", type=whole(1), default=150, metavar="N", help="d, their features (≥ 1; default 150)"
    )
    parser.add_argument("--normalize", action="store_true", help="scale every example to length 1")
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of all draws (default 0)")


def add_training(
    parser: argparse.ArgumentParser, *, precision: str, regularization: str | None = None
) -> None:
    """Declare how it is trained.

    Args:
        parser: the command's.
        precision: the default.
        regularization: the default; None for those of the published runs.
    """
    parser.add_argument("--width", type=whole(1), default=200, metavar="P", help="p (≥ 1; default 200)")
    parser.add_argument(
        "--regularization",
        type=numbers,
        default=regularization,
        metavar="L,L",
        help=f"every λ ≥ 0 (default {regularization or 'those of the published runs'})",
    )
    parser.add_argument(
        "--schedule",
        default="constant",
        metavar="S",
        help="λ(t): constant, cut-off (0 from step T on) or decay (times exp(-t/T)); default constant",
    )
    parser.add_argument("--horizon", type=whole(1), metavar="T", help="T of the schedule, in steps (≥ 1)")
    parser.add_argument("--units", default="published", metavar="U", help="published or paper")
    parser.add_argument(
        "--lr", type=float, dest="learning_rate", metavar="X", help="η (default the published)"
    )
    parser.add_argument(
        "--precision", default=precision, metavar="F", help=f"float32 or float64 (default {precision})"
    )


def add_work(parser: argparse.ArgumentParser, trials: int) -> None:
    """Declare how many trials there are, who simulates them, and where records go."""
    parser.add_argument(
        "--trials", type=whole(1), default=trials, metavar="N", help=f"trials (≥ 1; default {trials})"
    )
    add_executor(parser, "trials")
    add_folder(parser)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Declare where records and figures go."""
    parser.add_argument(
        "--out", default=_FOLDER, metavar="DIR", help=f"folder of records and figures (default {_FOLDER})"
    )


def settings_of(arguments: argparse.Namespace, **changes: Any) -> "SimulationSettings":
    """The settings that the flags make.

    Raises:
        UserMistake: a value that does not exist, or two that do not go together.
    """
    from biograd.theory.published import regularizations
    from biograd.theory.settings import SimulationSettings

    given = {name: getattr(arguments, name) for name in _SETTINGS if hasattr(arguments, name)}
    factor = given["examples"] / 2 if given.get("units") == "paper" else 1
    published = [factor * strength for strength in regularizations(given["activation"])]
    given["regularization"] = tuple(getattr(arguments, "regularization", None) or published)
    return SimulationSettings(**{**given, **changes})


def folder_of(arguments: argparse.Namespace) -> Path:
    """Where records go.

    Raises:
        UserMistake: it is no folder.
    """
    from biograd.cli.runs import chosen_folder

    return chosen_folder(arguments.out)
