"""``biograd report DIR``: a self-contained page from the records of the runs in a folder."""

import argparse
from typing import Any

from biograd.cli.exits import DONE
from biograd.cli.output import print_json, print_table
from biograd.cli.parsing import add_command

_EPILOG = """\
examples:
  biograd report runs
  biograd report runs/demo --title "Five rules on digits"
  biograd report runs/tuning --part validation
  biograd report results/mnist-mlp.records.xz

Reads every run at or below DIR, finished or not; nothing is trained. The page needs no network: tables
and figures are inside it, and each figure lies beside it as SVG and PDF. Runs that `biograd pack` packed are read
as if they were folders; the page of FILE.records.xz goes to the folder FILE.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers, "report", run, "self-contained HTML and figures from the records in a folder", _EPILOG
    )
    parser.add_argument(
        "directory", metavar="DIR", help="folder that holds runs, at any depth, or a packed file"
    )
    parser.add_argument(
        "--title", metavar="TEXT", help="heading of the page (default: from the folder's name)"
    )
    parser.add_argument(
        "--part",
        choices=["test", "validation"],
        default="test",
        help="the part of the data that figures, differences and leads show; runs that never read the test set show "
        "their validation part anyway (default test)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    from biograd.report.page import write_and_return

    page, table = write_and_return(
        arguments.directory, title=arguments.title, validated=arguments.part == "validation"
    )
    if arguments.json:
        counts = {"runs": len(table.runs), "cells": len(table.cells), "left_out": len(table.left_out)}
        print_json({"report": str(page), **counts})
        return DONE
    print_table(table)
    print(page)
    return DONE
