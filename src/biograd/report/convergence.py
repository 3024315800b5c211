"""The figure of how two-layer feedback alignment learns: loss, alignment and the way of both layers by steps."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from biograd.records.theory import ConvergenceConfig, ConvergenceFigure, ConvergenceRow, Curve, Points
from biograd.report.drawing import WIDTH, Drawing, draw
from biograd.report.palette import QUIET, series


def convergence(found: ConvergenceFigure) -> Drawing:
    """Four panels: loss with what the kernels predict, cos∠(b, β), ‖W - W₀‖ and ‖β - β₀‖.

    Args:
        found: ``config`` of the simulation and ``rows`` of `biograd.theory.convergence.rows`, one of them with steps.
    """
    rows = [row for row in found["rows"] if row["steps"]]
    config = found["config"]

    def paint(figure: Figure) -> None:
        (loss, cosine), (first, second) = figure.subplots(2, 2, sharex=True)
        for row, color in zip(rows, series(len(rows)), strict=True):
            _loss(loss, row, color, _frame(rows))
            _line(cosine, row["steps"], row["cosine"], row["cosine_sd"], color)
            _line(first, row["steps"], row["first_layer"], None, color)
            _line(second, row["steps"], row["second_layer"], None, color)
        _name(loss, cosine, first, second)
        loss.set_ylim(*_frame(rows))
        for axes in (loss, cosine, first, second):
            _horizon(axes, config)
        figure.legend(*_entries(rows, config), loc="outside upper left", ncols=4, handlelength=2.2)

    return draw("convergence", "Convergence", _caption(config, rows), (WIDTH, 5.0), paint)


def _loss(axes: Axes, row: ConvergenceRow, color: str, frame: tuple[float, float]) -> None:
    """A recursion that leaves the frame, as it does where H is not small, is not followed."""
    _band(axes, row["steps"], row["loss"], row["loss_low"], row["loss_high"], color)
    if row["linearised"] and row["predicted_slope"] is not None:
        inside = [value if frame[0] < value < frame[1] else math.nan for value in row["linearised"]]
        axes.plot(row["steps"], inside, color=color, linestyle="--", linewidth=1.2)
        _predicted(axes, row, row["predicted_slope"])


def _frame(rows: Sequence[ConvergenceRow]) -> tuple[float, float]:
    """From below the smallest loss to above the largest."""
    return 0.3 * min(min(row["loss_low"]) for row in rows), 3 * max(max(row["loss_high"]) for row in rows)


def _predicted(axes: Axes, row: ConvergenceRow, slope: float) -> None:
    """A line of the predicted slope through the last point, over the latter half."""
    half = len(row["steps"]) // 2
    steps, end = row["steps"][half:], row["steps"][-1]
    logs = [math.log(row["loss"][-1]) + slope * (end - step) for step in steps]
    axes.plot(steps, [math.exp(value) for value in logs], color=QUIET, linestyle=":", linewidth=1.6)


def _line(axes: Axes, steps: Points, mean: Curve, sd: Curve | None, color: str) -> None:
    spread = sd or [0.0] * len(mean)
    low = [value - around for value, around in zip(mean, spread, strict=True)]
    high = [value + around for value, around in zip(mean, spread, strict=True)]
    _band(axes, steps, mean, low, high, color)


def _band(
    axes: Axes,
    steps: Sequence[int],
    middle: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    color: str,
) -> None:
    axes.plot(steps, middle, color=color, linewidth=1.4)
    axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)


def _name(loss: Axes, cosine: Axes, first: Axes, second: Axes) -> None:
    loss.set_yscale("log")
    loss.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-")))
    for axes, title in ((loss, "loss"), (cosine, "cos∠(b, β)"), (first, "‖W − W₀‖"), (second, "‖β − β₀‖")):
        axes.set_title(title)
    for axes in (first, second):
        axes.set_xlabel("steps")


def _horizon(axes: Axes, config: ConvergenceConfig) -> None:
    if config["schedule"] == "cut-off" and config["horizon"] is not None:
        axes.axvline(config["horizon"], color=QUIET, linewidth=0.8)


def _entries(rows: Sequence[ConvergenceRow], config: ConvergenceConfig) -> tuple[list[Line2D], list[str]]:
    colors = series(len(rows))
    handles = [Line2D([], [], color=color, linewidth=1.4) for color in colors]
    labels = [f"λ = {row['regularization']:g}" for row in rows]
    for place, row in enumerate(rows):
        if row["linearised"]:
            handles += [
                Line2D([], [], color=colors[place], linestyle="--", linewidth=1.2),
                Line2D([], [], color=QUIET, linestyle=":", linewidth=1.6),
            ]
            labels += ["e ← (I − η(G + H)) e", "slope 2ηλ_min(G)"]
    if config["schedule"] == "cut-off":
        handles.append(Line2D([], [], color=QUIET, linewidth=0.8))
        labels.append("λ switched off")
    return handles, labels


def _caption(config: ConvergenceConfig, rows: Sequence[ConvergenceRow]) -> str:
    length = ", inputs of length 1" if config["normalize"] else ""
    algorithm = {"fa": "feedback alignment", "bp": "backpropagation"}.get(config["method"], config["method"])
    return (
        f"Two-layer {config['activation']} network of {config['width']} hidden neurons by {algorithm}{length}, "
        f"{rows[0]['trials']} trials: loss as geometric mean, the others as means, bands of one standard deviation."
    )
