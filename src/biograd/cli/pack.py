"""``biograd pack FOLDER``: the records of many runs in one file that every command reads."""

import argparse
from typing import TYPE_CHECKING, Any

from biograd.cli.exits import DONE
from biograd.cli.output import note, print_json, size
from biograd.cli.parsing import add_command

if TYPE_CHECKING:
    from biograd.records import Packed

_EPILOG = """\
examples:
  biograd pack runs/compare-mnist-mlp
  biograd pack runs/local-stdp-full --out results/local-stdp.records.xz
  biograd report results/local-stdp.records.xz

Every .json and .jsonl file at and below FOLDER goes into the file, byte for byte: what tables and figures are made
of. Checkpoints, locks, pages, figures and your own Python files are left out, and counted. FOLDER stays as it is.

Commands that read runs read a packed file, or a place in it, as if it were the folder: report, and compare,
reproduce, resume and theory for what is finished. Nothing writes into it: to go on with a run, or to attack it,
`biograd unpack` the file, or use the folder. The same records give the same bytes.

The file is a line of JSON a record, compressed: `xz -dc FILE` shows it, and nothing in it can execute.
"""

_NAMED = 6
"""How many of the files that are left out are named."""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(subparsers, "pack", run, "the records of a folder of runs in one file", _EPILOG)
    parser.add_argument("folder", metavar="FOLDER", help="folder of a run, or one that holds runs")
    parser.add_argument(
        "--out", metavar="FILE", help="new, its name ending in .records.xz (default FOLDER.records.xz)"
    )
    parser.add_argument("--replace", action="store_true", help="write over FILE if it holds other records")


def run(arguments: argparse.Namespace) -> int:
    """Pack, and say what was left out."""
    from biograd import records

    made = records.pack(arguments.folder, arguments.out, replace=arguments.replace)
    if arguments.json:
        print_json({**vars(made), "file": str(made.file)})
        return DONE
    _tell(made)
    runs = f" of {made.runs} runs" if made.runs else ""
    print(f"{made.file}: {made.records} records{runs}, {size(made.text)} in {size(made.size)}")
    return DONE


def _tell(made: "Packed") -> None:
    """What a user may miss, or want to know, of a packed file."""
    if made.left_out:
        named = [f"{count} × {name}" for name, count in list(made.left_out.items())[:_NAMED]]
        others = sum(list(made.left_out.values())[_NAMED:])
        more = [f"{others} others"] if others else []
        note(f"biograd pack: left out, being no records: {', '.join([*named, *more])}")
    if made.unfinished:
        note(f"biograd pack: runs that are unfinished, and stay so in the file: {made.unfinished}")
