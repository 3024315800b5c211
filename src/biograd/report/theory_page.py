"""The page of the two-layer simulations: every figure of which there are rows in a folder, with its table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from biograd.errors import UserMistake
from biograd.records import atomic_write, exists, read_json, unpacked, write_json
from biograd.report.alignment_by_width import alignment_by_width
from biograd.report.convergence import convergence
from biograd.report.drawing import Drawing
from biograd.report.kernel_norms import kernel_norms
from biograd.report.rendering import templates
from biograd.report.two_layer_tables import Table, alignment_table, convergence_table, kernels_table

Found = Mapping[str, Any]


class _Kind(NamedTuple):
    """How what a command found is shown."""

    draw: Callable[[Found], Drawing]
    table: Callable[[Sequence[Mapping[str, Any]]], Table]


KINDS = {
    "alignment-by-width": _Kind(lambda found: alignment_by_width(found["rows"]), alignment_table),
    "convergence": _Kind(convergence, convergence_table),
    "kernel-norms": _Kind(kernel_norms, kernels_table),
}
"""By the name of the figure, which its files have."""


def write_figure(folder: Path, name: str, found: Found) -> Path:
    """Write a figure, its rows, and the page of the folder anew.

    Args:
        folder: made where there is none. What is drawn from a packed file goes to the folder that it would be
            unpacked to.
        name: in `KINDS`.
        found: what the figure shows: ``rows``, ``config``, ``environment``.

    Returns:
        The path of the figure; ``NAME.json`` and ``report.html`` lie beside it.

    Raises:
        UserMistake: rows of another figure in the folder are corrupted.
        RunFailed: a file cannot be written.
    """
    drawing = KINDS[name].draw(found)
    place = unpacked(folder)
    path = drawing.save(place)
    write_json(path.with_suffix(".json"), found)
    html = (
        templates()
        .get_template("theory.html")
        .render(
            title="Two-layer feedback alignment",
            behaviour_hash=None,
            sections=list(_sections(folder, name, found, drawing)),
        )
    )
    atomic_write(place / "report.html", html)
    return path


def _sections(folder: Path, name: str, found: Found, drawing: Drawing) -> Iterator[dict[str, Any]]:
    """The figure just drawn, and those of which the rows lie in the folder."""
    for kind, (draw, _) in KINDS.items():
        if kind == name:
            yield _section(kind, found, drawing)
        elif exists(folder / f"{kind}.json"):
            other = _read(folder / f"{kind}.json")
            yield _section(kind, other, draw(other))


def _read(path: Path) -> Found:
    """The rows of a figure, as `write_figure` left them."""
    found = read_json(path)
    if not {"rows", "config", "environment"} <= found.keys():
        raise UserMistake(f"{path} holds no rows of a figure: remove it")
    return found


def _section(name: str, found: Found, drawing: Drawing) -> dict[str, Any]:
    facts = {**found["config"], **found["environment"]}
    return {
        "drawing": drawing,
        "table": KINDS[name].table(found["rows"]),
        "facts": [(key, _spell(value)) for key, value in facts.items() if value is not None],
    }


def _spell(value: Any) -> str:
    """A value as the page shows it."""
    return ", ".join(map(_spell, value)) if isinstance(value, list | tuple) else str(value)
