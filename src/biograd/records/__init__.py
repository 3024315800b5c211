"""Records: the rows that a run leaves in its folder, written so that a kill cannot corrupt them, and packed.

Rows in, rows out: nothing here trains or draws, and PyTorch is imported by `environment` alone.
"""

from biograd.records.assessment import Assessment, VerdictRow, read_assessment
from biograd.records.bench import Benchmark, BenchRow, BenchSubject, DepthRow, InverseRow, ScalingRow
from biograd.records.environment import environment
from biograd.records.file_names import (
    ASSESSMENT,
    CHECKPOINT,
    CONFIG,
    DIAGNOSTICS,
    ENVIRONMENT,
    METRICS,
    RESULT,
    RESULTS_TABLE,
    ROBUSTNESS,
    SEARCH,
    STUDY,
    TRIALS_TABLE,
)
from biograd.records.files import (
    append_line,
    atomic_write,
    make_folder,
    parse,
    read_json,
    read_lines,
    remove_leftovers,
    replacing,
    truncate_lines,
    write_json,
)
from biograd.records.flat_rows import as_csv, frame, result_rows, trial_rows
from biograd.records.growth import GROWN
from biograd.records.packing import Packed, pack, unpack
from biograd.records.places import exists, folders, is_packed, read_bytes, refuse_packed, unpacked
from biograd.records.reading import read_row, read_rows
from biograd.records.robustness import Measurement, add_measurement, read_measurements
from biograd.records.rows import Choice, Configuration, DiagnosticsRow, Environment, EpochRow, Place, Result
from biograd.records.run import OWN, REFERENCE, Found, Run, find_runs, search
from biograd.records.schema import number
from biograd.records.study import ClaimRow, StudyOutcome, StudyRow, read_study
from biograd.records.summary import Cell, Spread, flatten, summarize
from biograd.records.trials import Search, TrialRow, Trials, find_trials, read_trials

__all__ = [
    "ASSESSMENT",
    "CHECKPOINT",
    "CONFIG",
    "DIAGNOSTICS",
    "ENVIRONMENT",
    "GROWN",
    "METRICS",
    "OWN",
    "REFERENCE",
    "RESULT",
    "RESULTS_TABLE",
    "ROBUSTNESS",
    "SEARCH",
    "STUDY",
    "TRIALS_TABLE",
    "Assessment",
    "BenchRow",
    "BenchSubject",
    "Benchmark",
    "Cell",
    "Choice",
    "ClaimRow",
    "Configuration",
    "DepthRow",
    "DiagnosticsRow",
    "Environment",
    "Place",
    "EpochRow",
    "Found",
    "InverseRow",
    "ScalingRow",
    "Measurement",
    "Packed",
    "Result",
    "Run",
    "Search",
    "Spread",
    "StudyOutcome",
    "StudyRow",
    "TrialRow",
    "Trials",
    "VerdictRow",
    "add_measurement",
    "append_line",
    "as_csv",
    "atomic_write",
    "environment",
    "exists",
    "find_runs",
    "find_trials",
    "flatten",
    "folders",
    "frame",
    "is_packed",
    "make_folder",
    "number",
    "pack",
    "parse",
    "read_assessment",
    "read_bytes",
    "read_json",
    "read_lines",
    "read_measurements",
    "read_row",
    "read_rows",
    "read_study",
    "read_trials",
    "refuse_packed",
    "remove_leftovers",
    "result_rows",
    "replacing",
    "search",
    "summarize",
    "trial_rows",
    "truncate_lines",
    "unpack",
    "unpacked",
    "write_json",
]
