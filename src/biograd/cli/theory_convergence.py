"""``biograd theory convergence``: loss against steps, beside what the kernels of the start predict."""

import argparse
from typing import TYPE_CHECKING, Any, cast

from biograd.cli.executor_flags import SECTION, executor_of
from biograd.cli.exits import DONE, FAILED
from biograd.cli.output import columns, print_json, without_nan
from biograd.cli.parsing import add_command
from biograd.cli.theory_flags import EPILOG, add_network, add_training, add_work, folder_of, settings_of
from biograd.cli.values import whole

if TYPE_CHECKING:
    from biograd.records.theory import ConvergenceConfig, ConvergenceFigure

_POINTS = 200
"""Of each curve."""

_EPILOG = f"""\
examples:
  biograd theory convergence --normalize --width 3200 --trials 2
  biograd theory convergence --activation relu --regularization 0,0.05 --steps 10000
  biograd theory convergence --regularization 0.005 --schedule cut-off --horizon 10000 --steps 20000

{EPILOG}
With λ = 0 the linearised recursion e ← (I − η(G(0) + H(0))) e stands beside the loss, and the slope 2ηλ_min(G(0)) of
its logarithm beside the slope over the last quarter of the steps. Without --steps there are as many as that slope
needs for twelve powers of ten. In single precision updates are lost to rounding long before, hence the default.
--out gets convergence.svg, convergence.pdf, the rows as convergence.json, report.html, and the record, which is not
made again.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the simulation."""
    does = "loss and alignment of two-layer feedback alignment by steps, beside the predicted"
    parser = add_command(subparsers, "convergence", run, does, _EPILOG, (SECTION,))
    add_network(parser)
    add_training(parser, precision="float64", regularization="0")
    parser.add_argument("--steps", type=whole(1), metavar="N", help="steps (≥ 1; default by the prediction)")
    add_work(parser, trials=4)


def run(arguments: argparse.Namespace) -> int:
    """Simulate, draw and print."""
    from biograd.cli.theory_simulations import records
    from biograd.report.theory_page import write_figure
    from biograd.report.two_layer_tables import convergence_table
    from biograd.theory.convergence import rows, steps_needed
    from biograd.theory.simulations import Simulation

    folder, settings = folder_of(arguments), settings_of(arguments)
    steps = settings.steps or steps_needed(settings, arguments.trials)
    simulation = Simulation(
        settings_of(arguments, steps=steps), arguments.trials, follow=-(-steps // _POINTS)
    )
    (record,) = records([simulation], folder, executor_of(arguments))
    found: ConvergenceFigure = {
        "config": cast("ConvergenceConfig", record["config"]),
        "environment": record["environment"],
        "rows": rows(record),
    }
    is_done = any(row["steps"] for row in found["rows"])
    figure = write_figure(folder, "convergence", without_nan(found)) if is_done else None
    if arguments.json:
        print_json({**found, "record": str(folder / simulation.file_name), "figure": figure and str(figure)})
    else:
        print(columns(convergence_table(found["rows"])))
        print(figure or folder / simulation.file_name)
    return DONE if is_done else FAILED
