"""The page of the two-layer simulations: every figure of which there are rows in a folder, with its table."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import biograd
from biograd.records import atomic_write, read_json, write_json
from biograd.report.alignment_by_width import alignment_by_width
from biograd.report.convergence import convergence
from biograd.report.drawing import Drawing
from biograd.report.kernel_norms import kernel_norms
from biograd.report.palette import DARK
from biograd.report.svg import inline, variable
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
        folder: made where there is none.
        name: in `KINDS`.
        found: what the figure shows: ``rows``, ``config``, ``environment``.

    Returns:
        The path of the figure; ``NAME.json`` and ``report.html`` lie beside it.

    Raises:
        UserMistake: rows of another figure in the folder are corrupted.
        RunFailed: a file cannot be written.
    """
    drawing = KINDS[name].draw(found)
    path = drawing.save(folder)
    write_json(path.with_suffix(".json"), found)
    others = {other: folder / f"{other}.json" for other in KINDS if other != name}
    shown = {other: read_json(file) for other, file in others.items() if file.exists()}
    drawings = {name: drawing, **{other: KINDS[other].draw(shown[other]) for other in shown}}
    sections = [
        _section(kind, drawings[kind], {name: found, **shown}[kind]) for kind in KINDS if kind in drawings
    ]
    html = (
        _templates()
        .get_template("theory.html")
        .render(
            title="Two-layer feedback alignment",
            version=biograd.__version__,
            sections=sections,
            colors={variable(light): (light, dark) for light, dark in DARK.items()},
        )
    )
    atomic_write(folder / "report.html", html)
    return path


def _section(name: str, drawing: Drawing, found: Found) -> dict[str, Any]:
    facts = {**found["config"], **found["environment"]}
    return {
        "drawing": drawing,
        "table": KINDS[name].table(found["rows"]),
        "facts": [(key, _spell(value)) for key, value in facts.items() if value is not None],
    }


def _spell(value: Any) -> str:
    """A value as the page shows it."""
    return ", ".join(map(_spell, value)) if isinstance(value, list | tuple) else str(value)


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("biograd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["inline"] = lambda drawing: Markup(inline(drawing.svg, drawing.name, drawing.title))
    return templates
