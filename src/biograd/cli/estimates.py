"""How long what a command is about to train will take, in a line before it does."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from biograd.cli.output import note

if TYPE_CHECKING:
    from biograd.training.estimate import Workload


def announcing(command: str, jobs: int, beyond: str = "") -> "Callable[[Workload], None]":
    """What says it, once there is an estimate.

    Args:
        command: whose it is.
        jobs: runs at once.
        beyond: what the estimate leaves out.
    """
    return lambda estimate: note(in_words(estimate, command, jobs, beyond))


def in_words(estimate: "Workload", command: str, jobs: int, beyond: str = "") -> str:
    """The line."""
    from biograd.training.estimate import duration

    shared = f", {duration(estimate.seconds / jobs)} with {jobs} jobs" if jobs > 1 else ""
    return f"biograd {command}: {estimate}{shared}, by a few steps of each on this machine{beyond}"
