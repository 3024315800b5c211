"""The flags that say who does the work of a command that has much of it."""

import argparse
from typing import TYPE_CHECKING

from biograd.cli.values import whole

if TYPE_CHECKING:
    from biograd.executor import Executor

SECTION = "executor"
"""Whose settings are written ``--executor.NAME VALUE``."""


def add_executor(parser: argparse.ArgumentParser, work: str = "runs") -> None:
    """Declare who does the work, and how much of it at once.

    Args:
        parser: of a command that takes settings of `SECTION`.
        work: what is done, in the plural.
    """
    parser.add_argument(
        "--jobs", type=whole(1), metavar="N", help=f"{work} at once, each in a process (≥ 1; default 1)"
    )
    parser.add_argument(
        "--executor",
        default="local",
        metavar="NAME",
        help=f"who does the {work}: local, or path/to/file.py:Name; --executor.NAME VALUE sets it (default local)",
    )


def executor_of(arguments: argparse.Namespace) -> "Executor":
    """The executor that the flags name.

    Raises:
        UserMistake: there is no such executor, or a setting of it is wrong.
    """
    from biograd import executor

    jobs = {} if arguments.jobs is None else {"jobs": arguments.jobs}
    return executor.create(arguments.executor, **{**arguments.settings.get(SECTION, {}), **jobs})
