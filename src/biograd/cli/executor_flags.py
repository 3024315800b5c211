"""The flags that say who does the work of a command that has much of it."""

import argparse
from typing import TYPE_CHECKING

from biograd.cli.values import whole

if TYPE_CHECKING:
    from biograd.executor import Executor

SECTION = "engine"
"""Whose settings are written ``--engine.NAME VALUE``."""

DEFAULTS = {"jobs": None, "engine": "local", "address": None}
"""What `add_executor` declares, and the defaults."""

_SHORT = ("jobs", "address")
"""Settings of engines that are flags too."""


def add_executor(parser: argparse.ArgumentParser, work: str = "runs") -> None:
    """Declare who does the work, and how much of it at once.

    Args:
        parser: of a command that takes settings of `SECTION`.
        work: what is done, in the plural.
    """
    parser.add_argument(
        "--jobs",
        type=whole(1),
        metavar="N",
        help=f"{work} at once (≥ 1; default 1; on a cluster as many as it has room for)",
    )
    parser.add_argument(
        "--engine",
        default=DEFAULTS["engine"],
        metavar="NAME",
        help=f"who does the {work}: local (processes of this machine), ray, slurm, or path/to/file.py:Name; "
        "--engine.NAME VALUE sets it (default local)",
    )
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="the head of the cluster, where the engine is ray"
    )


def executor_of(arguments: argparse.Namespace) -> "Executor":
    """The executor that the flags name.

    Raises:
        UserMistake: there is no such engine, or a setting of it is wrong.
    """
    from biograd import executor

    flags = {name: getattr(arguments, name) for name in _SHORT}
    given = {name: value for name, value in flags.items() if value is not None}
    return executor.create(arguments.engine, **{**arguments.settings.get(SECTION, {}), **given})


def jobs_of(arguments: argparse.Namespace) -> int:
    """How many pieces of work are done at once, as far as the flags that `executor_of` has checked say it; else 1."""
    return round(float(arguments.jobs or arguments.settings.get(SECTION, {}).get("jobs", 1)))
