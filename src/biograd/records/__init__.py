"""Records: the rows that a run leaves in its folder, written so that a kill cannot corrupt them, and packed.

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
from biograd.records.packing import Packed, pack, unpack
from biograd.records.places import exists, folders, is_packed, read_bytes, refuse_packed, unpacked
from biograd.records.robustness import add_measurement, read_measurements
from biograd.records.run import Run, find_runs
from biograd.records.summary import Cell, Spread, flatten, summarize

__all__ = [
    "Cell",
    "Packed",
    "Run",
    "Spread",
    "add_measurement",
    "append_line",
    "atomic_write",
    "environment",
    "exists",
    "find_runs",
    "flatten",
    "folders",
    "is_packed",
    "pack",
    "read_bytes",
    "read_json",
    "read_lines",
    "read_measurements",
    "refuse_packed",
    "remove_leftovers",
    "replacing",
    "sha256",
    "summarize",
    "truncate_lines",
    "unpack",
    "unpacked",
    "write_json",
]
