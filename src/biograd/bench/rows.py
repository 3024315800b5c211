"""The columns of a benchmark's row, the same for every benchmark."""

from biograd.bench.inverse_watch import Inverses
from biograd.bench.limits import RESIDUAL, Limit
from biograd.bench.memory import Memory
from biograd.bench.timing import Paired
from biograd.records import BenchRow, BenchSubject


def row(
    about: BenchSubject,
    time: Paired | None,
    *,
    limit: Limit | None = None,
    memory: Memory | None = None,
    reference_memory: Memory | None = None,
    inverses: Inverses | None = None,
    reason: str | None = None,
) -> BenchRow:
    """A row that JSON takes; what was not measured is None.

    Args:
        about: what was measured: ``benchmark rule net batch threads repeats``.
        time: of the step and its reference.
        limit: what the ratio is held against.
        memory: of the step.
        reference_memory: of its reference.
        inverses: how those did that a rule keeps from step to step; its times are means then.
        reason: why nothing was measured.
    """
    return {
        **about,
        "limit": limit and limit.at_most,
        "aim": limit and limit.aim,
        "average": time and ("mean" if inverses else "median"),
        "seconds": time and time.seconds,
        "reference_seconds": time and time.reference_seconds,
        "ratio": time and time.ratio,
        "ratio_low": time and time.low,
        "ratio_high": time and time.high,
        "kept_bytes": memory and memory.kept,
        "reference_kept_bytes": reference_memory and reference_memory.kept,
        "peak_bytes": memory and memory.peak,
        "reference_peak_bytes": reference_memory and reference_memory.peak,
        "refreshes": inverses and inverses.refreshes,
        "residual": inverses and inverses.residual,
        "residual_limit": inverses and RESIDUAL,
        "reason": reason,
    }
