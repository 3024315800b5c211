"""Inverses of weight matrices, formed or solved for, and what is raised where a weight has none."""

import torch
from torch import Tensor

from biograd.credit import late, replays
from biograd.errors import NotFinite, UnsupportedNet


def pseudo_inverse(W: Tensor, name: str) -> Tensor:
    r"""The Moore–Penrose inverse :math:`W^+` of matrices of full rank, ``(…, out, fan_in)``; the inverse of squares.

    By LU for squares and by QR for others: :math:`W^+ = R^{-1} Q^T` with W = QR where W is tall. Solving X W = I is
    half as fast again on a CPU as `torch.linalg.inv`.

    Raises:
        NotFinite: a matrix is singular, or not finite; on a device that is left free to run ahead the result is not
            finite instead.
        UnsupportedNet: it has fewer digits than float32 has.
    """
    rows, columns = W.shape[-2:]
    _require_solvable(W, name)
    if rows < columns:
        return pseudo_inverse(W.mT, name).mT
    if rows == columns:
        LU, pivots, info = torch.linalg.lu_factor_ex(W)
        eye = torch.eye(rows, dtype=W.dtype, device=W.device).expand_as(W)
        inverse = torch.linalg.lu_solve(LU, pivots, eye, left=False)
        regular = (info == 0).all() & LU.isfinite().all() & inverse.isfinite().all()
        _require(regular, name)
        return inverse
    Q, R = torch.linalg.qr(W)
    _require((R.diagonal(dim1=-2, dim2=-1).abs() > 0).all() & R.isfinite().all(), name)
    return torch.linalg.solve_triangular(R, Q.mT, upper=True)


def _require_solvable(W: Tensor, name: str) -> None:
    """Refuse weights that PyTorch has no inverse for, and all in a captured step: factoring may wait for a device."""
    replays.refuse("inverts weights")
    if W.dtype.itemsize < 4:
        raise UnsupportedNet(
            f"the weight of {name!r} is {W.dtype}, which no matrix is inverted in: keep the net in float32 and run it "
            "under autocast (--precision bfloat16), or take inverse='learned'"
        )


def _require(regular: Tensor, name: str) -> None:
    """Refuse a weight without an inverse, where that can be told at once."""
    if late.is_read_at_once(regular.device) and not regular:
        raise singular(name)


def through_pseudo_inverse(W: Tensor, rows: Tensor, name: str) -> Tensor:
    """``rows @ W⁺`` for a matrix W, ``(fan_in, out)``, without forming an inverse.

    Where W is not of full rank the result is not finite, or an error is raised as by `solved`.
    """
    fan_in, out = W.shape
    _require_solvable(W, name)
    if fan_in == out:
        return solved(W, rows, name)
    if fan_in > out:
        # W = QR, so W⁺ = R⁻¹ Qᵀ
        Q, R = torch.linalg.qr(W)
        return torch.linalg.solve_triangular(R, rows, upper=True, left=False) @ Q.mT
    # Wᵀ = QR, so W⁺ = Q R⁻ᵀ
    Q, R = torch.linalg.qr(W.mT)
    return torch.linalg.solve_triangular(R.mT, rows @ Q, upper=False, left=False)


def solved(W: Tensor, rows: Tensor, name: str) -> Tensor:
    """The rows y with ``y W = rows`` for a square matrix, without forming an inverse.

    Raises:
        NotFinite: the matrix is singular; on a device that is left free to run ahead the result is of no use instead.
    """
    _require_solvable(W, name)
    solution, info = torch.linalg.solve_ex(W.mT, rows.mT)
    _require((info == 0).all(), name)
    return solution.mT


def singular(name: str) -> NotFinite:
    """What is raised where a weight has no inverse."""
    return NotFinite(
        f"the weight of {name!r} is singular or not finite, and the rule goes back through its inverse: lower the "
        "learning rate, add the penalty orthogonality or make it stronger, or start from orthogonal weights"
    )
