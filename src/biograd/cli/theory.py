"""``biograd theory STUDY``: simulations that the theory of the rules speaks of, a file a study."""

from typing import Any

from biograd.cli import theory_alignment, theory_convergence, theory_figure, theory_kernels, theory_stdp

_STUDIES = (theory_alignment, theory_convergence, theory_kernels, theory_figure, theory_stdp)

_EPILOG = """\
examples:
  biograd theory stdp --out figures
  biograd theory alignment --activation tanh --width 200 --trials 8
  biograd theory figure --jobs 2

`biograd theory STUDY --help` says what a study does, its flags, defaults and ranges.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command and the studies, each of which is a command of its own."""
    does = "simulations that the theory of the rules speaks of"
    parser = subparsers.add_parser("theory", help=does, description=f"{does.capitalize()}.", epilog=_EPILOG)
    studies = parser.add_subparsers(title="studies", metavar="STUDY", help="which simulation")
    for study in _STUDIES:
        study.add_parser(studies)
