"""``biograd theory stdp``: from spikes to the rule stdp-association."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biograd.cli import runs
from biograd.cli.exits import DONE
from biograd.cli.output import columns, print_json
from biograd.cli.parsing import add_command
from biograd.cli.values import whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biograd.records.theory import Fit, SpikeTimingRecord, SynapseRow

_EPILOG = """\
examples:
  biograd theory stdp
  biograd theory stdp --trials 40000 --seed 1 --out figures

Neurons that fire as Poisson processes, every pair of spikes changing the synapse by the STDP window, a
teaching current in the middle of each example, and a race in which the first of a group to spike silences
the others. The means over trials stand beside the equation of the rule stdp-association; a slope of 1 says
that they agree. Takes some seconds. --out writes spike-timing.svg, spike-timing.pdf and the rows,
spike-timing.json.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the study."""
    parser = add_command(
        subparsers,
        "stdp",
        run,
        "pair-based STDP and a race to the first spike beside stdp-association",
        _EPILOG,
    )
    parser.add_argument(
        "--trials", type=whole(2), default=10_000, metavar="N", help="of each condition (≥ 2; default 10000)"
    )
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of all spikes (default 0)")
    parser.add_argument("--out", metavar="FOLDER", help="where the figure and the rows go")


def run(arguments: argparse.Namespace) -> int:
    """Simulate and print."""
    from biograd.records import environment
    from biograd.theory.rate_rule import compare

    folder = runs.figure_folder(arguments.out) if arguments.out else None
    measured: SpikeTimingRecord = {"environment": environment(), **compare(arguments.trials, arguments.seed)}
    if folder is not None:
        measured["figure"] = str(_draw(measured, folder))
    if arguments.json:
        print_json(measured)
    else:
        _print(measured)
    return DONE


def _draw(measured: "SpikeTimingRecord", folder: Path) -> Path:
    """Write the figure and the rows behind it; the figure's path."""
    from biograd.records import write_json
    from biograd.report.spike_timing import spike_timing

    path = spike_timing(measured).save(folder)
    write_json(path.with_suffix(".json"), measured)
    return path


def _print(measured: "SpikeTimingRecord") -> None:
    titles = ("", "means", "slope", "correlation", "farthest, in s.e.")
    fits = measured["fits"]
    lines = [
        _line("synapse", measured["synapse"], fits["synapse"]),
        _line("group", measured["group"], fits["group"]),
    ]
    print(columns([titles, *lines]))
    print()
    race = [
        (f"{row['z']:g}", f"{row['mean']:.4f} ± {row['standard_error']:.4f}", f"{row['rule']:.4f}")
        for row in measured["race"]
    ]
    print(columns([("drive", "first to spike", "softmax"), *race]))
    if "figure" in measured:
        print(measured["figure"])


def _line(what: str, rows: "Sequence[SynapseRow]", fit: "Fit") -> tuple[str, ...]:
    return (
        what,
        str(len(rows)),
        f"{fit['slope']:.4f} ± {fit['standard_error']:.4f}",
        f"{fit['correlation']:.5f}",
        f"{fit['largest']:.1f}",
    )
