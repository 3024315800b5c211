"""``biograd unpack FILE``: packed records as a folder again."""

import argparse
from typing import Any

from biograd.cli.exits import DONE
from biograd.cli.output import print_json
from biograd.cli.parsing import add_command

_EPILOG = """\
examples:
  biograd unpack results/mnist-mlp.records.xz
  biograd unpack results/mnist-mlp.records.xz --out runs/mnist-mlp

Every record lies where it lay before `biograd pack`, byte for byte; the file stays. What is in the folder already
is kept, and refused if it is something else. Weights were not packed: a run that is finished can be read and
compared with, one that is not begins anew with `biograd resume`.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(subparsers, "unpack", run, "a packed file as a folder of runs again", _EPILOG)
    parser.add_argument("file", metavar="FILE", help="what biograd pack wrote")
    parser.add_argument(
        "--out", metavar="FOLDER", help="where to (default FILE without its ending, beside it)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Unpack, and say where."""
    from biograd import records

    folder, count = records.unpack(arguments.file, arguments.out)
    if arguments.json:
        print_json({"folder": str(folder), "records": count})
    else:
        print(f"{folder}: {count} records")
    return DONE
