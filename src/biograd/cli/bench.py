"""``biograd bench``: what a step of each rule costs, beside plain backpropagation in the same run."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biograd.cli import runs
from biograd.cli.exits import DONE
from biograd.cli.output import columns, print_json, size
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
  biograd bench scaling --widths 256,1024 --rules bp,fa,dtp

Every step (zero_grad and assign_credit; the optimiser's step is no part of it) is timed together with a
plain loss.backward() of the same net and batch, all rules in random order. `× bp` is the median of their
ratios, in brackets its 95 % bootstrap interval. Beside them runs the same update by hand, plain tensor
operations without autograd, for bp, fa, usf, kp, dfa, stdp-association, dtp, sdtp and gait-prop on chains
of linear layers: `× hand` is the ratio to that, which holds on any processor. `at most` is the limit that
a change must keep with one thread, 1.10 × hand; `aim` 1.02. With one thread the time is the process's own,
which other work moves little. Where a rule keeps inverses of weights (gait-prop, itp), Adam at 1e-4 moves
the weights between steps and ratios are those of the means of four times as many turns, so that every
inverse that is made anew counts. The locally connected layer is timed beside the convolution with shared
weights. All of it takes some minutes.

On a GPU (--device cuda) a step has run when all its work there is done, and time is the wall's; rules whose
steps --compile graphs cannot capture say why. Limits are for CPUs.

`inverses` times gait-prop by each strategy for its inverses against the width of the layers, in some
minutes more; --out writes inverse-cost.svg, inverse-cost.pdf and the rows, inverse-cost.json.

`depth` follows every tensor of one step on nets of 2 to 32 hidden layers of 256 neurons, and times nothing;
--out writes memory-by-depth.svg, memory-by-depth.pdf and the rows, memory-by-depth.json.

`scaling` times steps on chains of linear layers against their width, their depth and the batch size; where
some of --widths, --depths and --batches are given, against these alone. --out writes a figure each,
scaling-by-width.svg and so on, and the rows, scaling.json.
"""

_FLAGS = {
    None: ("rules", "nets", "repeats", "threads", "seed", "device", "compile"),
    "inverses": ("widths", "repeats", "threads", "seed", "out"),
    "depth": ("rules", "depths", "seed", "out"),
    "scaling": ("rules", "widths", "depths", "batches", "repeats", "threads", "seed", "out"),
}
"""Which flags each benchmark takes."""

_CURVES = ("widths", "depths", "batches")
"""What ``scaling`` measures against."""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers, "bench", run, "step time and memory of the rules beside plain backpropagation", _EPILOG
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=[what for what in _FLAGS if what],
        metavar="inverses|depth|scaling",
        help="the cost of inverses, memory by depth, or step times by size, instead",
    )
    parser.add_argument(
        "--rules",
        type=names,
        metavar="A,B,C",
        help="which rules (default all; on square, for depth and for scaling a choice of them)",
    )
    parser.add_argument(
        "--nets",
        type=names,
        metavar="A,B",
        help="which benchmark nets (mlp, convnet, resnet20, bartunov-mnist-fc, square, locally-connected; "
        "default all)",
    )
    parser.add_argument(
        "--widths",
        type=whole_numbers(10),
        metavar="A,B",
        help="for inverses (default 256,512,1024,2048) and scaling (64 to 2048)",
    )
    parser.add_argument(
        "--depths",
        type=whole_numbers(1),
        metavar="A,B",
        help="hidden layers, for depth (default 2,4,8,16,32) and scaling (2 to 64)",
    )
    parser.add_argument(
        "--batches", type=whole_numbers(1), metavar="A,B", help="for scaling (default 8 to 1024)"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help="for inverses, depth and scaling: where the figures go"
    )
    parser.add_argument(
        "--repeats", type=whole(1), metavar="N", help="turns a rule (≥ 1; default 30, 20 or 10 by net)"
    )
    parser.add_argument("--threads", type=whole(1), metavar="N", help="threads (≥ 1; default 1)")
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        metavar="DEVICE",
        help="where steps run: cpu or cuda (default cpu)",
    )
    parser.add_argument(
        "--compile",
        choices=("graphs",),
        metavar="graphs",
        help="capture steps, the references too, as CUDA graphs",
    )
    parser.add_argument("--seed", type=whole(0), metavar="N", help="of weights, batch and order (default 0)")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    from biograd import bench
    from biograd.records import environment

    given = _given(arguments)
    folder = (
        runs.figure_folder(arguments.out) if arguments.out else None
    )  # a mistake comes before the minutes
    measure = {
        None: bench.run,
        "inverses": bench.inverse_costs,
        "depth": bench.memory_by_depth,
        "scaling": bench.scaling,
    }
    measured: dict[str, Any] = {"environment": environment(), "rows": measure[arguments.what](**given)}
    if folder is not None:
        measured |= _draw(arguments.what, measured, folder)
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
            *others, last = [what or "the step times" for what, taken in _FLAGS.items() if flag in taken]
            homes = f"{', '.join(others)} and {last}" if others else last
            raise UserMistake(f"--{flag} goes with {homes} alone: see biograd bench --help")
    if given.pop("compile", None) is not None:
        given["by_graphs"] = True
    if arguments.what == "scaling" and any(curve in given for curve in _CURVES):
        given = {**{curve: [] for curve in _CURVES}, **given}
    return {flag: value for flag, value in given.items() if flag != "out"}


def _draw(what: str, measured: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write the figures and the rows behind them; where the figures are."""
    from biograd.records import write_json
    from biograd.report.depth import memory_by_depth
    from biograd.report.inverses import inverse_cost
    from biograd.report.scaling import scaling

    rows = measured["rows"]
    if all(row["reason"] for row in rows):
        raise UserMistake(f"nothing was measured that could be drawn: {rows[0]['reason']}")
    if what == "scaling":
        paths = [drawing.save(folder) for drawing in scaling(rows)]
        write_json(folder / "scaling.json", measured)
        return {"figures": [str(path) for path in paths]}
    path = (inverse_cost if what == "inverses" else memory_by_depth)(rows).save(folder)
    write_json(path.with_suffix(".json"), measured)
    return {"figure": str(path)}


def _print(measured: Mapping[str, Any], what: str | None) -> None:
    rows = measured["rows"]
    if what == "depth":
        titles = ("rule", "hidden", "kept", "peak", "kept × bp", "peak × bp", "")
        lines = [_memory_line(row) for row in rows]
    elif what == "scaling":
        titles = ("along", "width", "depth", "batch", "rule", "ms", "× bp", "95 %", "× hand", "95 %", "")
        lines = [_scaling_line(row) for row in rows]
    else:
        name = "strategy" if what else "rule"
        titles = (
            *("net", name, "ms", "× bp", "95 %", "at most", "aim"),
            *("× hand", "95 %", "at most", "aim", "memory × bp", ""),
        )
        lines = [_line(row, name) for row in rows]
    print(columns([titles, *lines]))
    for path in measured.get("figures", [measured["figure"]] if "figure" in measured else []):
        print(path)


def _memory_line(row: Mapping[str, Any]) -> tuple[str, ...]:
    head = (row["rule"], str(row["hidden"]))
    if row["kept_bytes"] is None:
        return (*head, *[""] * 4, f"not measured: {row['reason']}")
    pairs = [(row[column], row[f"reference_{column}"]) for column in ("kept_bytes", "peak_bytes")]
    return (*head, *(size(own) for own, _ in pairs), *(_ratio(own / plain) for own, plain in pairs), "")


def _scaling_line(row: Mapping[str, Any]) -> tuple[str, ...]:
    head = (row["along"], *(str(row[size]) for size in ("width", "depth", "batch")), row["rule"])
    if row["ratio"] is None:
        return (*head, *[""] * 5, f"not measured: {row['reason']}")
    return (*head, *_times(row), *_of_reference(row), _inverses(row))


def _line(row: Mapping[str, Any], what: str) -> tuple[str, ...]:
    inside = f" (inside={row['inside']})" if "inside" in row else ""
    head = (row["net"], row[what] + inside)
    if row["ratio"] is None:
        return (*head, *[""] * 10, f"not measured: {row['reason']}")
    return (
        *head,
        *_times(row),
        *(_ratio(row["limit"]), _ratio(row["aim"])),
        *_of_reference(row),
        *(_ratio(row.get("of_reference_limit")), _ratio(row.get("of_reference_aim"))),
        _ratio(row["kept_bytes"] and row["kept_bytes"] / row["reference_kept_bytes"]),
        "; ".join(
            filter(
                None,
                (_verdict(row, "ratio", row["limit"]), _by_hand_verdict(row), _inverses(row), _bits(row)),
            )
        ),
    )


def _times(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Milliseconds, the ratio to backpropagation, and its interval."""
    return f"{1000 * row['seconds']:.2f}", f"{row['ratio']:.3f}", _interval(row, "ratio")


def _of_reference(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The ratio to the update by hand, and its interval, where there is one."""
    if row.get("of_reference") is None:
        return "", ""
    return f"{row['of_reference']:.3f}", _interval(row, "of_reference")


def _interval(row: Mapping[str, Any], name: str) -> str:
    return f"[{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def _by_hand_verdict(row: Mapping[str, Any]) -> str:
    verdict = _verdict(row, "of_reference", row.get("of_reference_limit"))
    return f"by hand {verdict}" if verdict else ""


def _verdict(row: Mapping[str, Any], name: str, limit: float | None) -> str:
    """Whether a ratio is over its limit, and whether more turns might change that."""
    if limit is None or row[name] <= limit:
        return ""
    return "over the limit" if row[f"{name}_low"] > limit else "over, within noise"


def _inverses(row: Mapping[str, Any]) -> str:
    """How kept inverses did."""
    if row.get("refreshes") is None:
        return ""
    over = ", over the limit" if row["residual"] > row["residual_limit"] else ""
    return f"{row['refreshes']} inverses anew in {row['repeats']} steps, residual {row['residual']:.0e}{over}"


def _bits(row: Mapping[str, Any]) -> str:
    """Whether several threads give the bits of one."""
    """What differs from the same step with one thread."""
    if row.get("compared") is None:
        return ""
    return f"{row['differing']} of {row['compared']} tensors with other bits than with one thread"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
