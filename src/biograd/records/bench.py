"""Rows of benchmarks: what a step costs beside its reference in the same run."""

from collections.abc import Sequence
from typing import NotRequired

from typing_extensions import TypedDict

from biograd.records.rows import Environment
from biograd.records.schema import Count, Number, Time, row


@row
class BenchSubject(TypedDict):
    """What a row of a benchmark is about."""

    benchmark: str
    """``step_time``, ``locally_connected``, ``inverses``, ``depth`` or ``scaling``."""
    rule: str
    inside: NotRequired[str]
    """That setting of the rule, where the net needs it."""
    net: str
    batch: Count
    threads: Count
    device: NotRequired[str]
    """Where it is no CPU."""
    compile: NotRequired[str]
    """``graphs`` where steps, the references too, were captured as CUDA graphs."""
    repeats: Count
    """Turns: a step beside its references each."""


@row
class BenchRow(BenchSubject):
    """What was measured of it; None where it was not."""

    clock: NotRequired[str | None]
    """``processor``: the process's own time, which other work does not move; or ``wall``, with several threads."""
    limit: Number | None
    """What the ratio must not exceed."""
    aim: Number | None
    average: NotRequired[str | None]
    """``median`` over the turns, or ``mean`` where a rule keeps inverses."""
    seconds: Time | None
    reference_seconds: Time | None
    """Of plain backpropagation."""
    ratio: Number | None
    ratio_low: Number | None
    ratio_high: Number | None
    """The 95 % interval of the ratio."""
    by_hand_seconds: NotRequired[Time | None]
    """Of the same update by hand, where there is one."""
    of_reference: NotRequired[Number | None]
    """The ratio to that."""
    of_reference_low: NotRequired[Number | None]
    of_reference_high: NotRequired[Number | None]
    """Its 95 % interval."""
    of_reference_limit: NotRequired[Number | None]
    of_reference_aim: NotRequired[Number | None]
    kept_bytes: Count | None
    """That autograd holds for the backward, at the most."""
    reference_kept_bytes: Count | None
    peak_bytes: Count | None
    """Alive at one time, without the gradients that are left."""
    reference_peak_bytes: Count | None
    refreshes: NotRequired[Count | None]
    """Kept inverses that were made anew."""
    residual: NotRequired[Number | None]
    residual_limit: NotRequired[Number | None]
    differing: NotRequired[Count | None]
    """How many of loss, output and gradients have other bits than with one thread, where there are several."""
    compared: NotRequired[Count | None]
    """Of how many."""
    reason: str | None
    """Why nothing was measured."""


@row
class InverseRow(BenchRow):
    """What a way to come by inverses costs."""

    strategy: str
    """How the inverses come about."""
    width: Count
    """Neurons of a layer."""


@row
class DepthRow(BenchRow):
    """What memory a net of so many layers takes."""

    hidden: Count
    """Hidden layers."""
    width: Count
    """Neurons of each."""


@row
class ScalingRow(BenchRow):
    """What a step costs on a chain of linear layers of these sizes."""

    along: str
    """Which of the sizes varies: ``width``, ``depth`` or ``batch``, a column of this row."""
    width: Count
    """Neurons of a hidden layer."""
    depth: Count
    """Hidden layers."""


@row
class Benchmark(TypedDict):
    """What a benchmark prints and writes beside its figure."""

    environment: Environment
    rows: Sequence[BenchRow]
    figure: NotRequired[str]
    figures: NotRequired[Sequence[str]]
    """Where there are several, of ``scaling``."""
