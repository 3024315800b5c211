"""The figure of both kernels of two-layer feedback alignment against the width."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from biograd.records.theory import KernelFigure, KernelRow
from biograd.report.drawing import WIDTH, Drawing, draw
from biograd.report.palette import BLUE, ORANGE


def kernel_norms(found: KernelFigure) -> Drawing:
    """‖H(0)‖ and λ_min(G(0)) against p, both logarithmic, with the fitted power of p.

    Args:
        found: what `biograd.theory.kernel_norms.kernel_norms` gave, and ``config``: ``activation trials normalize``.
    """

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        rows = found["rows"]
        first = [(row["first_layer_mean"], row["first_layer_sd"]) for row in rows]
        slowest = [(row["slowest_mean"], row["slowest_sd"]) for row in rows]
        _points(axes, rows, first, "‖H(0)‖", BLUE)
        _points(axes, rows, slowest, "λ_min(G(0))", ORANGE)
        _fit(axes, found, BLUE)
        _name(axes, [row["width"] for row in found["rows"]])
        figure.legend(loc="outside upper left", ncols=2)

    config = found["config"]
    length = ", inputs of length 1" if config["normalize"] else ""
    caption = (
        f"Kernels of two-layer {config['activation']} networks at the start{length}: mean ± standard deviation of "
        f"{config['trials']} draws. Where H vanishes, G alone drives the error."
    )
    return draw("kernel-norms", "Kernels by width", caption, (WIDTH / 2, 3.0), paint)


def _points(
    axes: Axes,
    rows: Sequence[KernelRow],
    spreads: Sequence[tuple[float, float | None]],
    name: str,
    color: str,
) -> None:
    axes.errorbar(
        [row["width"] for row in rows],
        [mean for mean, _ in spreads],
        [sd or 0 for _, sd in spreads],
        color=color,
        marker="o",
        markersize=4,
        linewidth=1.4,
        elinewidth=0.9,
        label=name,
    )


def _fit(axes: Axes, found: KernelFigure, color: str) -> None:
    """The fitted power, through the geometric middle of the points."""
    widths = [row["width"] for row in found["rows"]]
    count, power = len(widths), found["exponent"]
    factor = 1.0
    for row in found["rows"]:
        factor *= (row["first_layer_mean"] / row["width"] ** power) ** (1 / count)
    axes.plot(
        widths,
        [factor * width**power for width in widths],
        color=color,
        linestyle="--",
        linewidth=1.2,
        label=f"p to the power {power:.3f}".replace("-", "−"),
    )


def _name(axes: Axes, widths: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(widths))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("p, hidden neurons")
