"""``biograd train``: one run."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biograd.cli import runs
from biograd.cli.exits import DONE
from biograd.cli.parsing import add_command
from biograd.cli.run_flags import SECTIONS, SEVERAL, add_run_flags, given

if TYPE_CHECKING:
    from biograd.training.config import RunConfig

SETTINGS_HELP = """\
settings of what is named, checked against their ranges (`biograd rules NAME` and so on list them):
  --rule.NAME VALUE        --rule.scale 0.5
  --net.NAME VALUE         --net.widths 512,512 --net.activation relu
  --data.NAME VALUE        --data.examples 1000
  --optimizer.NAME VALUE   --optimizer.weight-decay 1e-2     as the class in torch.optim takes them
  --loss.NAME VALUE        --loss huber --loss.delta 0.5
  --feedback-optimizer.NAME VALUE   --feedback-optimizer.lr 5e-3   the same; without a name, Adam's
  --schedule.NAME VALUE    cosine: minimum, interval; step: every, at, factor, interval
  --penalty.NAME VALUE     --penalty.strength 0.1
  --track.WHO.NAME VALUE   --track.mlflow.uri http://localhost:5000   and so for --observe.WHO.NAME
`-` and `_` are the same in a name, and --rule.scale=0.5 is --rule.scale 0.5.

Defaults < what a rule needs to work (`biograd rules NAME` shows it) < FILE < flags. Naming another rule,
net, data set, optimizer, feedback optimizer, schedule or penalty on the command line drops the file's settings for the
first.
"""

_EPILOG = f"""\
examples:
  biograd train --rule fa --data digits --net mlp
  biograd train --rule dfa --data mnist --net mlp --net.widths 800,800 --epochs 5 --lr 5e-4
  biograd train --rule kp --data cifar10 --net resnet20 --schedule cosine --device cuda --out runs/kp
  biograd train --rule gait-prop --data digits --net square --penalty orthogonality --penalty.strength 0.1
  biograd train --rule fa --data folder:pets --data.size 32 --net convnet
  biograd train --rule fa --data table:flowers.csv --data.target species --net mlp
  biograd train --rule my_rule.py:MyRule --data iris --net mlp --json
  biograd train --config run.toml --seed 3

{SETTINGS_HELP}
The folder holds config.json, environment.json, metrics.jsonl, checkpoint.safetensors and result.json. A run
that was stopped, however, goes on with `biograd resume`. The test set is read once, at the end;
with --read-test false it is left unread.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers, "train", run, "one run: a rule, a net and a data set", _EPILOG, (*SECTIONS, *SEVERAL)
    )
    add_run_flags(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="a new folder for the run (default runs/DATA-NET-RULE-seedN, made unique)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train and print the result."""
    from biograd.training.config import RunConfig

    config = RunConfig.from_sources(given(arguments), arguments.config, source="the command line")
    if arguments.out is not None:
        return _train(config, runs.chosen_folder(arguments.out), arguments.json)
    with runs.claimed(runs.default_folder(config)) as folder:
        return _train(config, folder, arguments.json)


def _train(config: "RunConfig", folder: Path, as_json: bool) -> int:
    from biograd import training

    with runs.resumable(folder), runs.failure_as_json(folder, as_json):
        result = training.train(config, folder)
    runs.announce(result, as_json)
    return DONE
