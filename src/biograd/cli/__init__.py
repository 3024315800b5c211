"""The command line: one file a command. What is heavy is imported when a command runs, not for its help."""

import contextlib
import gc
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence

from biograd import __version__
from biograd.cli import (
    assess,
    bench,
    compare,
    data,
    demo,
    nets,
    pack,
    penalties,
    report,
    reproduce,
    resume,
    robustness,
    rules,
    theory,
    train,
    tune,
    unpack,
)
from biograd.cli.exits import DONE, guarded, replace_unprintable_signs
from biograd.cli.parsing import Parser, parse

_COMMANDS = (
    demo,
    train,
    resume,
    compare,
    tune,
    assess,
    reproduce,
    robustness,
    theory,
    bench,
    report,
    pack,
    unpack,
    rules,
    penalties,
    data,
    nets,
)

_EPILOG = """\
Begin with `biograd demo`: it needs no network and takes less than a minute.
`biograd COMMAND --help` lists a command's flags, defaults and ranges.

Every command takes --json: the last line of standard output is then one JSON object. Progress goes to
standard error, and only to a terminal.
Exit codes: 0 done, 1 failed, 2 a mistake that you can mend (one line says how), 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: what stands after the program's name; None reads it from `sys.argv`.

    Returns:
        The exit code: 0 done, 1 failed, 2 the user's mistake, 130 interrupted, 141 nobody reads on.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    replace_unprintable_signs()
    parser = make_parser()
    known = arguments and arguments[0] in parser.commands()
    with _few_full_collections():
        return guarded(f"biograd {arguments[0]}" if known else "biograd", lambda: _run(parser, arguments))


@contextlib.contextmanager
def _few_full_collections() -> Iterator[None]:
    """Let Python seldom look for garbage among all objects: a command imports a million, which stay."""
    before = gc.get_threshold()
    gc.set_threshold(*before[:2], 1000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def make_parser() -> Parser:
    """The parser of the whole program, with one command a file of this package."""
    parser = Parser(
        prog="biograd",
        description="Train networks with biologically motivated learning rules, beside backpropagation.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    parser.set_defaults(run=_print_version)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return parser


def _run(parser: Parser, arguments: Sequence[str]) -> int:
    try:
        namespace = parse(parser, arguments)
    except SystemExit:  # argparse leaves so after --help
        return DONE
    return namespace.run(namespace)


def _print_version(_: Namespace) -> int:
    print(f"biograd {__version__}")
    return DONE
