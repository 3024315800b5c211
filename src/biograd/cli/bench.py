"""``biograd bench``: what a step of each rule costs, beside plain backpropagation in the same run."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biograd.cli import runs
from biograd.cli.exits import DONE
from biograd.cli.output import columns, note, print_json, size
from biograd.cli.parsing import add_command
from biograd.cli.values import names, whole, whole_numbers
from biograd.errors import UserMistake

_EPILOG = """\
examples:
  biograd bench
  biograd bench --rules fa,kp,dfa --nets mlp --repeats 50
  biograd bench --json > bench.json
  biograd bench inverses --out figures
  biograd bench depth --rules bp,stdp-association --out figures

Every step (zero_grad and assign_credit; the optimiser's step is no part of it) is timed right before or
right after a plain loss.backward() of the same net and batch, all rules in random order. The ratio is the
median over the pairs, in brackets its 95 % bootstrap interval. `at most` is the limit that a change must
keep, on an otherwise idle machine and one thread; `aim` is what the operations cost. Where a rule keeps
inverses of weights (gait-prop, itp), Adam at 1e-4 moves the weights between steps and the ratio is that of
the means of four times as many pairs, so that every inverse that is made anew counts. The locally
connected layer is timed beside the convolution with shared weights. All of it takes some minutes.

`inverses` times gait-prop by each strategy for its inverses against the width of the layers, in some
minutes more; --out writes inverse-cost.svg, inverse-cost.pdf and the rows, inverse-cost.json.

`depth` follows every tensor of one step on nets of 2 to 32 hidden layers of 256 neurons, and times nothing;
--out writes memory-by-depth.svg, memory-by-depth.pdf and the rows, memory-by-depth.json.
"""

_FLAGS = {
    None: ("rules", "nets", "repeats", "threads", "seed"),
    "inverses": ("widths", "repeats", "threads", "seed", "out"),
    "depth": ("rules", "depths", "seed", "out"),
}
"""Which flags each benchmark takes."""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers, "bench", run, "step time and memory of the rules beside plain backpropagation", _EPILOG
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=[what for what in _FLAGS if what],
        metavar="inverses|depth",
        help="the cost of inverses, or memory by depth, instead",
    )
    parser.add_argument(
        "--rules",
        type=names,
        metavar="A,B,C",
        help="which rules (default all; on square and for depth a choice of them)",
    )
    parser.add_argument(
        "--nets",
        type=names,
        metavar="A,B",
        help="which benchmark nets (mlp, convnet, resnet20, bartunov-mnist-fc, square, locally-connected; "
        "default all)",
    )
    parser.add_argument(
        "--widths", type=whole_numbers(10), metavar="A,B", help="for inverses (default 256,512,1024,2048)"
    )
    parser.add_argument(
        "--depths",
        type=whole_numbers(1),
        metavar="A,B",
        help="for depth: hidden layers (default 2,4,8,16,32)",
    )
    parser.add_argument("--out", metavar="FOLDER", help="for inverses and depth: where the figure goes")
    parser.add_argument("--repeats", type=whole(1), metavar="N", help="pairs a rule (≥ 1; default 30)")
    parser.add_argument("--threads", type=whole(1), metavar="N", help="threads (≥ 1; default 1)")
    parser.add_argument("--seed", type=whole(0), metavar="N", help="of weights, batch and order (default 0)")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    from biograd import bench
    from biograd.records import environment

    given = _given(arguments)
    folder = (
        runs.figure_folder(arguments.out) if arguments.out else None
    )  # a mistake comes before the minutes
    if sys.stderr.isatty():  # no moving bar, which would take time from what is timed
        note("measuring …")
    measure = {None: bench.run, "inverses": bench.inverse_costs, "depth": bench.memory_by_depth}
    measured: dict[str, Any] = {"environment": environment(), "rows": measure[arguments.what](**given)}
    if folder is not None:
        measured["figure"] = str(_draw(arguments.what, measured, folder))
    if arguments.json:
        print_json(measured)
    else:
        _print(measured, arguments.what)
    return DONE


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The benchmark's arguments, of the flags that were given; those of another benchmark are a mistake."""
    flags = dict.fromkeys(flag for flags in _FLAGS.values() for flag in flags)
    given = {flag: getattr(arguments, flag) for flag in flags if getattr(arguments, flag) is not None}
    for flag in given:
        if flag not in _FLAGS[arguments.what]:
            homes = [what or "the step times" for what, taken in _FLAGS.items() if flag in taken]
            raise UserMistake(f"--{flag} goes with {' and '.join(homes)} alone: see biograd bench --help")
    return {flag: value for flag, value in given.items() if flag != "out"}


def _draw(what: str, measured: Mapping[str, Any], folder: Path) -> Path:
    """Write the figure and the rows behind it; the figure's path."""
    from biograd.records import write_json
    from biograd.report.depth import memory_by_depth
    from biograd.report.inverses import inverse_cost

    rows = measured["rows"]
    if all(row["reason"] for row in rows):
        raise UserMistake(f"nothing was measured that could be drawn: {rows[0]['reason']}")
    drawing = (inverse_cost if what == "inverses" else memory_by_depth)(rows)
    path = drawing.save(folder)
    write_json(path.with_suffix(".json"), measured)
    return path


def _print(measured: Mapping[str, Any], what: str | None) -> None:
    rows = measured["rows"]
    if what == "depth":
        titles = ("rule", "hidden", "kept", "peak", "kept × bp", "peak × bp", "")
        lines = [_memory_line(row) for row in rows]
    else:
        name = "strategy" if what else "rule"
        titles = ("net", name, "ms", "× bp", "95 %", "at most", "aim", "memory × bp", "")
        lines = [_line(row, name) for row in rows]
    print(columns([titles, *lines]))
    if "figure" in measured:
        print(measured["figure"])


def _memory_line(row: Mapping[str, Any]) -> tuple[str, ...]:
    head = (row["rule"], str(row["hidden"]))
    if row["kept_bytes"] is None:
        return (*head, *[""] * 4, f"not measured: {row['reason']}")
    pairs = [(row[column], row[f"reference_{column}"]) for column in ("kept_bytes", "peak_bytes")]
    return (*head, *(size(own) for own, _ in pairs), *(_ratio(own / plain) for own, plain in pairs), "")


def _line(row: Mapping[str, Any], what: str) -> tuple[str, ...]:
    inside = f" (inside={row['inside']})" if "inside" in row else ""
    head = (row["net"], row[what] + inside)
    if row["ratio"] is None:
        return (*head, *[""] * 6, f"not measured: {row['reason']}")
    return (
        *head,
        f"{1000 * row['seconds']:.2f}",
        f"{row['ratio']:.3f}",
        f"[{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]",
        _ratio(row["limit"]),
        _ratio(row["aim"]),
        _ratio(row["kept_bytes"] and row["kept_bytes"] / row["reference_kept_bytes"]),
        "; ".join(filter(None, (_verdict(row), _inverses(row)))),
    )


def _verdict(row: Mapping[str, Any]) -> str:
    """Whether a ratio is over its limit, and whether more repeats might change that."""
    if row["limit"] is None or row["ratio"] <= row["limit"]:
        return ""
    return "over the limit" if row["ratio_low"] > row["limit"] else "over, within noise"


def _inverses(row: Mapping[str, Any]) -> str:
    """How kept inverses did."""
    if row.get("refreshes") is None:
        return ""
    over = ", over the limit" if row["residual"] > row["residual_limit"] else ""
    return f"{row['refreshes']} inverses anew in {row['repeats']} steps, residual {row['residual']:.0e}{over}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
