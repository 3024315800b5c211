"""``biograd theory alignment``: the angle between forward and feedback weights at the end of training."""

import argparse
from typing import Any

from biograd.cli.executor_flags import SECTION, executor_of
from biograd.cli.exits import DONE, FAILED
from biograd.cli.output import columns, print_json
from biograd.cli.parsing import add_command
from biograd.cli.theory_flags import EPILOG, add_network, add_training, add_work, folder_of, settings_of
from biograd.cli.values import whole

_EPILOG = f"""\
examples:
  biograd theory alignment --activation linear --width 800
  biograd theory alignment --activation tanh --width 200 --regularization 0,0.005 --trials 8 --json
  biograd theory alignment --activation relu --regularization 0.2 --schedule cut-off --horizon 20000

{EPILOG}
Each trial stops by itself, as the published ones: the mean squared error is looked at every 1000 steps, and a trial
stops as soon as it has taken ⌊5000 √p / 14⌋ steps (T more with a schedule) and the last look found that the error had
changed by less than 1e-3 since the look before. --max-steps caps it, --steps takes a given number instead. Where the
same was published its mean ± sd of 50 trials stands beside. A simulation's record is a file of --out; a finished
one is not made again.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the simulation."""
    does = "alignment of β with b at the end of two-layer feedback alignment, beside the published"
    parser = add_command(subparsers, "alignment", run, does, _EPILOG, (SECTION,))
    add_network(parser)
    add_training(parser, precision="float32")
    parser.add_argument("--steps", type=whole(1), metavar="N", help="steps of each trial (≥ 1)")
    parser.add_argument("--max-steps", type=whole(1), metavar="N", help="cap of the stopping rule (≥ 1)")
    add_work(parser, trials=20)


def run(arguments: argparse.Namespace) -> int:
    """Simulate and print."""
    from biograd.cli.theory_simulations import records
    from biograd.report.two_layer_tables import alignment_table
    from biograd.theory.simulations import Simulation
    from biograd.theory.summary import rows

    simulation, folder = Simulation(settings_of(arguments), arguments.trials), folder_of(arguments)
    (record,) = records([simulation], folder, executor_of(arguments))
    found = rows(record)
    if arguments.json:
        only = found[0] if len(found) == 1 else {}
        print_json(
            {**only, "rows": found, "config": record["config"], "record": str(folder / simulation.file_name)}
        )
    else:
        print(columns(alignment_table(found)))
        print(folder / simulation.file_name)
    return DONE if any(row["cosine_mean"] is not None for row in found) else FAILED
