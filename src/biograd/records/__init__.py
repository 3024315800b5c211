"""Records: the rows that a run leaves in its folder, written so that a kill cannot corrupt them.

Rows in, rows out: nothing here trains or draws, and PyTorch is imported by `environment` alone.
"""

from biograd.records.environment import environment
from biograd.records.files import (
    append_line,
    atomic_write,
    read_json,
    read_lines,
    remove_leftovers,
    replacing,
    sha256,
    truncate_lines,
    write_json,
)
from biograd.records.robustness import add_measurement, read_measurements
from biograd.records.run import Run, find_runs
from biograd.records.summary import Cell, Spread, flatten, summarize

__all__ = [
    "Cell",
    "Run",
    "Spread",
    "add_measurement",
    "append_line",
    "atomic_write",
    "environment",
    "find_runs",
    "flatten",
    "read_json",
    "read_lines",
    "read_measurements",
    "remove_leftovers",
    "replacing",
    "sha256",
    "summarize",
    "truncate_lines",
    "write_json",
]
