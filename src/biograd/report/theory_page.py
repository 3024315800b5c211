"""The page of the two-layer simulations: every figure of which there are rows in a folder, with its table."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from biograd.errors import UserMistake
from biograd.records import atomic_write, exists, read_row, unpacked, write_json
from biograd.records.theory import AlignmentFigure, ConvergenceFigure, KernelFigure
from biograd.report.alignment_by_width import alignment_by_width
from biograd.report.convergence import convergence
from biograd.report.drawing import Drawing
from biograd.report.kernel_norms import kernel_norms
from biograd.report.rendering import templates
from biograd.report.two_layer_tables import Lines, alignment_table, convergence_table, kernels_table

Figure = AlignmentFigure | ConvergenceFigure | KernelFigure
"""What a figure shows, as the file beside it holds it."""


class _Kind(NamedTuple):
    """How what a command found is read back and shown."""

    rows: type[Any]
    draw: Callable[[Any], Drawing]
    table: Callable[[Any], Lines]


KINDS = {
    "alignment-by-width": _Kind(
        AlignmentFigure, lambda found: alignment_by_width(found["rows"]), alignment_table
    ),
    "convergence": _Kind(ConvergenceFigure, convergence, convergence_table),
    "kernel-norms": _Kind(KernelFigure, kernel_norms, kernels_table),
}
"""By the name of the figure, which its files have."""


def write_figure(folder: Path, name: str, found: Figure) -> Path:
    """Write a figure, its rows, and the page of the folder anew.

    Rows of another figure that are damaged are left out with a warning, and the page says so.

    Args:
        folder: made where there is none. What is drawn from a packed file goes to the folder that it would be
            unpacked to.
        name: in `KINDS`.
        found: what the figure shows.

    Returns:
        The path of the figure; ``NAME.json`` and ``report.html`` lie beside it.

    Raises:
        RunFailed: a file cannot be written.
    """
    place = unpacked(folder)
    path = KINDS[name].draw(found).save(place)
    write_json(path.with_suffix(".json"), found)
    others, left_out = _figures(folder)
    figures = {kind: found if kind == name else others.get(kind) for kind in KINDS}
    html = (
        templates()
        .get_template("theory.html")
        .render(
            title="Two-layer feedback alignment",
            behaviour_hash=None,
            sections=[_section(KINDS[kind], one) for kind, one in figures.items() if one is not None],
            left_out=left_out,
        )
    )
    atomic_write(place / "report.html", html)
    return path


def _figures(folder: Path) -> tuple[dict[str, Figure], list[str]]:
    """What the figures in a folder show, and a line for each that cannot be read."""
    found: dict[str, Figure] = {}
    left_out = []
    for name, kind in KINDS.items():
        path = folder / f"{name}.json"
        try:
            if exists(path):
                found[name] = read_row(path, kind.rows, "make the figure again, or remove the file")
        except UserMistake as mistake:
            warnings.warn(f"left out: {mistake}", stacklevel=2)
            left_out.append(str(mistake))
    return found, left_out


def _section(kind: _Kind, found: Figure) -> dict[str, Any]:
    facts = {**found["config"], **found["environment"]}
    return {
        "drawing": kind.draw(found),
        "table": kind.table(found["rows"]),
        "facts": [(key, _spell(value)) for key, value in facts.items() if value is not None],
    }


def _spell(value: Any) -> str:
    """A value as the page shows it."""
    return ", ".join(map(_spell, value)) if isinstance(value, list | tuple) else str(value)
