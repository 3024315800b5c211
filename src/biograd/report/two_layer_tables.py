"""Rows of the two-layer simulations as tables of text, for the terminal and the page."""

from collections.abc import Sequence

from biograd.records.theory import AlignmentRow, ConvergenceRow, KernelRow
from biograd.report.columns import MISSING

Lines = list[tuple[str, ...]]
"""Titles, then a tuple a row; the last column holds what a reader must know besides."""


def alignment_table(rows: Sequence[AlignmentRow]) -> Lines:
    """A line a cell, published numbers beside.

    Args:
        rows: of `biograd.theory.summary.rows`.
    """
    titles = ("net", "p", "λ", "cos∠(b, β)", "published", "loss", "steps", "")
    return [titles, *(_alignment(row) for row in rows)]


def convergence_table(rows: Sequence[ConvergenceRow]) -> Lines:
    """A line for each λ: where it ended, and its late slope beside the predicted.

    Args:
        rows: of `biograd.theory.convergence.rows`.
    """
    titles = ("λ", "steps", "loss", "cos∠(b, β)", "late slope / 2ηλ_min(G)", "recursion's", "")
    return [titles, *(_convergence(row) for row in rows)]


def kernels_table(rows: Sequence[KernelRow]) -> Lines:
    """A line a width.

    Args:
        rows: of `biograd.theory.kernel_norms.kernel_norms`.
    """
    return [("p", "‖H(0)‖", "λ_min(G(0))"), *map(_kernels, rows)]


def _alignment(row: AlignmentRow) -> tuple[str, ...]:
    return (
        row["activation"],
        str(row["width"]),
        f"{row['regularization']:g}",
        _spread(row["cosine_mean"], row["cosine_sd"]),
        _spread(row["published_mean"], row["published_sd"]),
        MISSING if row["loss_mean"] is None else f"{row['loss_mean']:.3g}",
        MISSING if row["steps"] is None else f"{row['steps']:.0f}",
        "; ".join(_notes(row)),
    )


def _notes(row: AlignmentRow) -> list[str]:
    """What did not end as it should, and how far it is from what was published or is expected."""
    counts = {"capped": row["capped"], "diverged": row["diverged"]}
    notes = [f"{count} of {row['trials']} {what}" for what, count in counts.items() if count]
    if row["deviations"] is not None:
        notes.append(f"{row['deviations']:+.1f} published sd".replace("-", "−"))
    if row["predicted"] and row["cosine_mean"] is not None:
        error = row["standard_error"] and row["standard_error"] / row["predicted"]
        notes.append(f"cos · p/n = {_spread(row['cosine_mean'] / row['predicted'], error, 2)}")
    if row["published_loss"] is not None:
        notes.append(f"published loss {row['published_loss']:.2g}")
    return notes


def _convergence(row: ConvergenceRow) -> tuple[str, ...]:
    diverged = f"{row['diverged']} of {row['trials']} diverged" if row["diverged"] else ""
    if not row["steps"]:
        return (f"{row['regularization']:g}", *[MISSING] * 5, diverged)
    apart = row["decades_apart"]
    notes = [diverged, "" if apart is None else f"at most {apart:.2f} decades from the recursion"]
    return (
        f"{row['regularization']:g}",
        str(row["steps"][-1]),
        f"{row['loss'][-1]:.3g}",
        f"{row['cosine'][-1]:.3f}",
        _spread(row["slope_ratio"], row["slope_ratio_sd"]),
        _spread(row["recursion_ratio"], None),
        "; ".join(filter(None, notes)),
    )


def _kernels(row: KernelRow) -> tuple[str, ...]:
    first = _spread(row["first_layer_mean"], row["first_layer_sd"], 4)
    return str(row["width"]), first, _spread(row["slowest_mean"], row["slowest_sd"], 4)


def _spread(mean: float | None, sd: float | None, digits: int = 3) -> str:
    """``mean ± sd``.

    Example:
        >>> _spread(0.25, 0.01), _spread(0.25, None), _spread(None, None)
        ('0.250 ± 0.010', '0.250', '—')
    """
    if mean is None:
        return MISSING
    return f"{mean:.{digits}f}" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"
