"""The figures of ``docs/benchmarks.md``, drawn from recorded rows, and where they lie."""

from pathlib import Path

from biograd.records import read_json
from biograd.report.depth import memory_by_depth
from biograd.report.drawing import Drawing
from biograd.report.scaling import scaling

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "docs" / "_static"


def drawings() -> list[tuple[Drawing, Path]]:
    """Each figure, with the file that it belongs in."""
    depth, sizes = (
        read_json(ROOT / "results" / name)["rows"]
        for name in ("depth/memory-by-depth.json", "scaling/scaling.json")
    )
    return [(drawing, PLACE / f"{drawing.name}.svg") for drawing in (memory_by_depth(depth), *scaling(sizes))]
