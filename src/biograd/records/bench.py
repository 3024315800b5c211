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
    """``step_time``, ``locally_connected``, ``inverses`` or ``depth``."""
    rule: str
    inside: NotRequired[str]
    """That setting of the rule, where the net needs it."""
    net: str
    batch: Count
    threads: Count
    repeats: Count
    """Pairs of steps."""


@row
class BenchRow(BenchSubject):
    """What was measured of it; None where it was not."""

    limit: Number | None
    """What the ratio must not exceed."""
    aim: Number | None
    average: NotRequired[str | None]
    """``median`` over the pairs, or ``mean`` where a rule keeps inverses."""
    seconds: Time | None
    reference_seconds: Time | None
    ratio: Number | None
    ratio_low: Number | None
    ratio_high: Number | None
    """The 95 % interval of the ratio."""
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
class Benchmark(TypedDict):
    """What a benchmark prints and writes beside its figure."""

    environment: Environment
    rows: Sequence[BenchRow]
    figure: NotRequired[str]
