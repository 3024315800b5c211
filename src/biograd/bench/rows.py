"""The columns of a benchmark's row, the same for every benchmark."""

import torch

from biograd.bench.inverse_watch import Inverses
from biograd.bench.limits import OF_REFERENCE, RESIDUAL, Limit
from biograd.bench.thread_bits import ThreadBits
from biograd.bench.timing import Times, clock_name
from biograd.diagnostics.memory import Memory
from biograd.records import BenchRow, BenchSubject


def row(
    about: BenchSubject,
    time: Times | None,
    *,
    limit: Limit | None = None,
    memory: Memory | None = None,
    reference_memory: Memory | None = None,
    inverses: Inverses | None = None,
    bits: ThreadBits | None = None,
    reason: str | None = None,
) -> BenchRow:
    """A row that JSON takes; what was not measured is None.

    Args:
        about: what was measured: ``benchmark rule net batch threads repeats``.
        time: of the step and its references.
        limit: what the ratio to plain backpropagation is held against.
        memory: of the step.
        reference_memory: of its reference.
        inverses: how those did that a rule keeps from step to step; its times are means then.
        bits: what has other bits than with one thread.
        reason: why nothing was measured.
    """
    hand, device = time and time.by_hand, torch.device(about.get("device", "cpu"))
    of_reference = OF_REFERENCE if hand and device.type == "cpu" else None
    return {
        **about,
        "clock": time and clock_name(device),
        "limit": limit and limit.at_most,
        "aim": limit and limit.aim,
        "average": time and ("mean" if inverses else "median"),
        "seconds": time and time.seconds,
        "reference_seconds": time and time.plain.seconds,
        "ratio": time and time.plain.ratio,
        "ratio_low": time and time.plain.low,
        "ratio_high": time and time.plain.high,
        "by_hand_seconds": hand and hand.seconds,
        "of_reference": hand and hand.ratio,
        "of_reference_low": hand and hand.low,
        "of_reference_high": hand and hand.high,
        "of_reference_limit": of_reference and of_reference.at_most,
        "of_reference_aim": of_reference and of_reference.aim,
        "kept_bytes": memory and memory.kept,
        "reference_kept_bytes": reference_memory and reference_memory.kept,
        "peak_bytes": memory and memory.peak,
        "reference_peak_bytes": reference_memory and reference_memory.peak,
        "refreshes": inverses and inverses.refreshes,
        "residual": inverses and inverses.residual,
        "residual_limit": inverses and RESIDUAL,
        "differing": bits and bits.differing,
        "compared": bits and bits.compared,
        "reason": reason,
    }
