"""How every figure is drawn: one style, and the same bytes each time."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from biograd.printable import printable
from biograd.records import Cell, atomic_write, make_folder
from biograd.report.cells import brief_name_of
from biograd.report.palette import GRID, INK, PAPER, QUIET
from biograd.report.table import Style

WIDTH = 7.2  # inches: the text width of a page in two columns

_STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "legend.frameon": False,
    "figure.constrained_layout.wspace": 0.05,
    "text.parse_math": False,  # a name may hold a dollar sign
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # text stays text, to be edited for a paper
}


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Attributes:
        name: its file name without the ending.
        title: what it shows.
        caption: how to read it.
        svg: the SVG file.
        pdf: the PDF file.
    """

    name: str
    title: str
    caption: str
    svg: str
    pdf: bytes

    def save(self, folder: Path) -> Path:
        """Write both files into a folder, which is made where there is none; the SVG file's path."""
        make_folder(folder)
        atomic_write(folder / f"{self.name}.pdf", self.pdf)
        atomic_write(folder / f"{self.name}.svg", self.svg)
        return folder / f"{self.name}.svg"


def draw(
    name: str, title: str, caption: str, size: tuple[float, float], paint: Callable[[Figure], None]
) -> Drawing:
    """Make a figure of ``size`` inches, let ``paint`` fill it, and save it.

    Matplotlib's global state is left as it was and has no influence (a user's own style, say), and neither
    file holds a date, so that the same rows give the same bytes.
    """
    title = printable(title)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**_STYLE, "svg.hashsalt": name})
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        for text in figure.findobj(Text):
            if not text.get_text().isprintable():
                text.set_text(printable(text.get_text()))
        svg, pdf = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
        figure.set_layout_engine("none")  # all has its place, and finding it takes as long as drawing
        figure.savefig(
            pdf, format="pdf", metadata={"CreationDate": None, "Creator": "biograd", "Producer": None}
        )
    return Drawing(slug(name), title, caption, svg.getvalue().decode(), pdf.getvalue())


def slug(text: str) -> str:
    """A name for a file, whatever the text holds.

    Example:
        >>> slug("Learning curves: mnist · ../my net.py:Net")
        'learning-curves-mnist-my-net-py-net'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80] or "figure"


def legend(figure: Figure, cells: Sequence[Cell], lines: Sequence[Style]) -> None:
    """One legend above all panels."""
    handles = [Line2D([], [], linewidth=1.4, markersize=4, markeredgewidth=0, **style) for style in lines]
    figure.legend(
        handles,
        [label_of(cell) for cell in cells],
        loc="outside upper left",
        ncols=_legend_columns(cells),
        handlelength=2.2,
        columnspacing=1.4,
    )


def legend_height(cells: Sequence[Cell]) -> float:
    """Inches that `legend` takes."""
    return 0.1 + 0.17 * -(-len(cells) // _legend_columns(cells))


def _legend_columns(cells: Sequence[Cell]) -> int:
    longest = max(len(label_of(cell)) for cell in cells)
    return max(1, min(len(cells), round(88 / (6 + longest))))


def label_of(cell: Cell) -> str:
    """A cell's name as a legend or an axis can show it."""
    return readable(brief_name_of(cell), 56)


def readable(name: str, longest: int) -> str:
    """A name as a figure can show it: no control characters, and not too long.

    Matplotlib leaves labels that begin with an underscore out of its legends, hence the space.
    """
    clean = printable(name)
    if len(clean) > longest:
        clean = f"{clean[: longest // 3]}…{clean[-(longest - longest // 3 - 1) :]}"
    return f" {clean}" if clean.startswith("_") else clean


def mark_powers(axes: Axes, ticks: Sequence[float], name: str) -> None:
    """Two logarithmic scales, with plain numbers at the values that were measured and nothing between them.

    Args:
        axes: to be marked.
        ticks: the values on the horizontal axis.
        name: of the horizontal axis.
    """
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(name)
