"""``biograd theory figure``: alignment against width, published cells and ours on one axis."""

import argparse
from typing import TYPE_CHECKING, Any

from biograd.cli.executor_flags import SECTION, executor_of
from biograd.cli.exits import DONE, FAILED
from biograd.cli.output import columns, print_json, without_nan
from biograd.cli.parsing import add_command
from biograd.cli.theory_flags import add_work, folder_of
from biograd.cli.values import names, whole

if TYPE_CHECKING:
    from biograd.records.theory import AlignmentFigure
    from biograd.theory.simulations import Simulation

_EPILOG = """\
examples:
  biograd theory figure --jobs 2
  biograd theory figure --trials 20 --max-width 3200 --jobs 2 --out runs/song2021-simulations

Every published cell up to --max-width: linear, relu and tanh, four λ each, p = 200, 400, 800, … Each trial stops by
the rule of the published runs (see `biograd theory alignment --help`, whose records of the same --out are used). Called
again it goes on with the simulations that are not finished. --out gets alignment-by-width.svg,
alignment-by-width.pdf, the rows as alignment-by-width.json, and report.html. The default takes minutes; time goes as p
to the power 1.5.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the figure."""
    does = "alignment against width: every published cell simulated, on one axis with the published"
    parser = add_command(subparsers, "figure", run, does, _EPILOG, (SECTION,))
    parser.add_argument(
        "--activations",
        type=names,
        default=["linear", "relu", "tanh"],
        metavar="A,A",
        help="which panels (default linear,relu,tanh)",
    )
    parser.add_argument(
        "--max-width", type=whole(200), default=1600, metavar="P", help="largest p (≥ 200; default 1600)"
    )
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of all draws (default 0)")
    add_work(parser, trials=8)


def run(arguments: argparse.Namespace) -> int:
    """Simulate what is missing, draw and print."""
    from biograd.cli.theory_simulations import records
    from biograd.report.theory_page import write_figure
    from biograd.report.two_layer_tables import alignment_table
    from biograd.theory.summary import rows

    folder, simulations = folder_of(arguments), _simulations(arguments)
    made = records(simulations, folder, executor_of(arguments))
    found: AlignmentFigure = {
        "rows": [row for record in made for row in rows(record)],
        "config": {name: getattr(arguments, name) for name in ("activations", "max_width", "trials", "seed")},
        "environment": made[0]["environment"],
        "seconds": sum(record["seconds"] for record in made),
    }
    is_done = any(row["cosine_mean"] is not None for row in found["rows"])
    figure = write_figure(folder, "alignment-by-width", without_nan(found)) if is_done else None
    if arguments.json:
        print_json({**found, "figure": figure and str(figure)})
    else:
        print(columns(alignment_table(found["rows"])))
        print(figure or folder)
    return DONE if is_done else FAILED


def _simulations(arguments: argparse.Namespace) -> "list[Simulation]":
    from biograd.theory.published import WIDTHS, regularizations
    from biograd.theory.settings import SimulationSettings
    from biograd.theory.simulations import Simulation

    return [
        Simulation(
            SimulationSettings(
                activation=activation,
                width=width,
                regularization=regularizations(activation),
                seed=arguments.seed,
            ),
            arguments.trials,
        )
        for activation in arguments.activations
        for width in WIDTHS
        if width <= arguments.max_width
    ]
