"""``biograd theory kernels``: both kernels at the start against the width."""

import argparse
from typing import TYPE_CHECKING, Any, cast

from biograd.cli.exits import DONE
from biograd.cli.output import columns, print_json
from biograd.cli.parsing import add_command
from biograd.cli.theory_flags import add_folder, add_network, folder_of, settings_of
from biograd.cli.values import whole, whole_numbers

if TYPE_CHECKING:
    from biograd.records.theory import KernelFigure, NetworkConfig

_WIDTHS = (200, 400, 800, 1600, 3200, 6400, 12800)

_EPILOG = """\
examples:
  biograd theory kernels --normalize
  biograd theory kernels --normalize --activation relu --widths 200,800,3200 --trials 5 --json

To first order the error moves by e ← (I − η(G + H)) e, G the kernel of the second layer, H that of the first, which
goes by the fixed b. ‖H(0)‖ falls as 1/√p, λ_min(G(0)) does not fall. Nothing is trained; takes some seconds.
--out gets kernel-norms.svg, kernel-norms.pdf, the rows as kernel-norms.json, and report.html.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the measurement."""
    does = "the kernels of two-layer feedback alignment at the start, against the width"
    parser = add_command(subparsers, "kernels", run, does, _EPILOG)
    add_network(parser)
    parser.add_argument(
        "--widths",
        type=whole_numbers(1),
        default=list(_WIDTHS),
        metavar="P,P",
        help=f"two at least (default {','.join(map(str, _WIDTHS))})",
    )
    parser.add_argument("--trials", type=whole(1), default=20, metavar="N", help="draws (≥ 1; default 20)")
    add_folder(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, draw and print."""
    from biograd.progress import shown
    from biograd.records import environment
    from biograd.report.theory_page import write_figure
    from biograd.report.two_layer_tables import kernels_table
    from biograd.theory.kernel_norms import kernel_norms

    settings, folder, widths = settings_of(arguments, width=1), folder_of(arguments), sorted(arguments.widths)
    names = ("activation", "method", "examples", "features", "normalize", "seed")
    config = {**{name: getattr(settings, name) for name in names}, "trials": arguments.trials}
    with shown("draws", 0, len(widths) * arguments.trials, None) as bar:
        measured = kernel_norms(settings, widths, arguments.trials, tell=bar.reach)
    found: KernelFigure = {
        **measured,
        "config": cast("NetworkConfig", config),
        "environment": environment(),
    }
    figure = write_figure(folder, "kernel-norms", found)
    if arguments.json:
        print_json({**found, "figure": str(figure)})
    else:
        error = "" if found["standard_error"] is None else f" ± {found['standard_error']:.3f}"
        print(columns(kernels_table(found["rows"])))
        print(f"\n‖H(0)‖ goes as p to the power {found['exponent']:.3f}{error}")
        print(figure)
    return DONE
