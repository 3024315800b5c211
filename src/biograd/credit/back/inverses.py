"""What stands for the inverse of a layer's weights when errors or targets travel back through it.

A layer's weights are read as matrices W, ``(…, fan_in, out)``, that take a patch of its input to its outputs at one
place: one matrix for a linear layer or a convolution, one a group, one a position where it is locally connected.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from biograd.credit import replays
from biograd.credit.back import late
from biograd.credit.back.corrections import FARTHEST, cost_of_another, foretold, further, is_dear
from biograd.credit.back.late import Late
from biograd.credit.calls import Call
from biograd.credit.kinds import (
    KINDS,
    Matrices,
    how_weight_is_computed,
    kind_of,
    nearest_weight,
    stacked,
)
from biograd.errors import NotFinite, UnsupportedNet, UserMistake
from biograd.layers.weight_layout import OUTPUTS_FIRST, WeightLayout


def require_invertible_kind(layer: nn.Module, name: str) -> None:
    """Refuse a layer whose weights cannot be read as matrices.

    Raises:
        UnsupportedNet: its kind has none, as linear, convolutional and locally connected layers do, it pads in a way
            of its own, or its weight is computed: to read it would compute it anew.
    """
    reason = why_not_invertible(layer, name)
    if reason is not None:
        raise UnsupportedNet(reason)


def why_not_invertible(layer: nn.Module, name: str) -> str | None:
    """Why a layer cannot be inverted through its weight as it is, in a line that names it; None where it can."""
    if not has_matrices(layer):
        return _unknown_inverse(layer, name)
    reason = _matrices(layer).why_not(layer)
    if reason is not None:
        return f"{name!r} {reason}"
    computed = how_weight_is_computed(layer)
    if computed is not None:
        return (
            f"the weight of {name!r} is computed from other parameters ({computed}), and the rule inverts weights that "
            "learn themselves: remove that (torch.nn.utils has a function for each)"
        )
    return None


def _unknown_inverse(layer: nn.Module, name: str) -> str:
    known = [kind.types[0].__name__ for kind in KINDS if kind.weight and kind.weight.matrices]
    return f"{name!r} is a {type(layer).__name__}, whose inverse is not known: expected {', '.join(known)}"


@dataclass(frozen=True)
class Reading:
    """How a weight is read as matrices, whether a layer of a known kind has it or not.

    Attributes:
        layout: which axis is what.
        groups: how many matrices lie one above another.
    """

    layout: WeightLayout
    groups: int

    @classmethod
    def of(cls, owner: nn.Module, name: str, weight: Tensor) -> "Reading":
        """How a weight of a module is read.

        A parameter of two dimensions in no layer of a known kind is one matrix, and its :math:`W^+` the same whichever
        way it is multiplied; one of more is a matrix for each place along the axes in front.

        Args:
            owner: the module that has it.
            name: of the weight, its name there last.
            weight: the weight.

        Raises:
            UnsupportedNet: the layer's outputs are no product of a patch of its input with a matrix.
        """
        layer, _, attribute = name.rpartition(".")
        kind = nearest_weight(owner) if attribute == "weight" else None
        if kind is None:
            is_stack = weight.dim() > 2
            layout = WeightLayout(weight.dim() - 2, -1) if is_stack else OUTPUTS_FIRST
            return cls(layout, 1 if is_stack else stacked(owner, attribute))
        groups = getattr(owner, "groups", 1)
        if kind.matrices is None or (kind.matrices.layout.positions and groups > 1):
            raise UnsupportedNet(_unknown_inverse(owner, layer))
        return cls(kind.matrices.layout, groups)

    def matrices(self, weight: Tensor) -> Tensor:
        """A weight as matrices ``(…, fan_in, out)``, detached."""
        return self.layout.as_matrices(weight.detach(), self.groups)

    def weight(self, matrices: Tensor, like: Tensor) -> Tensor:
        """Matrices ``(…, fan_in, out)`` in the layout of a weight."""
        return self.layout.as_weight(matrices, like)


def require_batch(layer: nn.Module, drive: Tensor) -> None:
    """Refuse what a layer makes of one example without its batch dimension.

    Raises:
        UserMistake: it is that.
    """
    if drive.dim() < 2 + len(vars(layer).get("kernel_size", ())):
        raise UserMistake(
            f"expected a batch (batch, …), but a {type(layer).__name__} gave {tuple(drive.shape)}: give the one "
            "example a batch dimension, x[None]"
        )


def has_matrices(layer: nn.Module) -> bool:
    """Whether the layer's weight can be read as matrices, and its forward pass is that of its kind."""
    kind = kind_of(layer)
    return kind is not None and kind.weight is not None and kind.weight.matrices is not None


def weight_matrices(layer: nn.Module, used: int | None = None) -> Tensor:
    """W of a layer as ``(…, fan_in, out)``, detached; the leading dimension counts groups or positions.

    Args:
        layer: see `require_invertible_kind`.
        used: how many of the outputs (the first ones) count; None for all.
    """
    return as_matrices(layer, narrowed(layer, used))


def narrowed(layer: nn.Module, used: int | None) -> Tensor:
    """The part of a layer's weight that leads to its first ``used`` outputs, in the weight's own layout."""
    return narrow(layer, _weight(layer).detach(), used)


def narrow(layer: nn.Module, weight: Tensor, used: int | None) -> Tensor:
    """The part for the first ``used`` outputs of a tensor in the layout of a layer's weight; a view."""
    return weight if used is None else _matrices(layer).layout.narrow(weight, used)


def as_matrices(layer: nn.Module, weight: Tensor) -> Tensor:
    """A tensor in the layout of a layer's weight as matrices ``(…, fan_in, out)``."""
    return _matrices(layer).layout.as_matrices(weight, getattr(layer, "groups", 1))


def as_weight(layer: nn.Module, matrices: Tensor, like: Tensor) -> Tensor:
    """Matrices ``(…, fan_in, out)`` in the layout of a layer's weight, that of ``like``; undoes `as_matrices`."""
    return _matrices(layer).layout.as_weight(matrices, like)


def _weight(layer: Any) -> Tensor:
    return layer.weight  # no parameter where it is computed from others


def multiplies_rows(layer: nn.Module) -> bool:
    """Whether the layer is a product with its one matrix along the last axis of its input."""
    return _matrices(layer).multiplies_rows


def _matrices(layer: nn.Module) -> Matrices:
    weight = nearest_weight(layer)
    assert weight is not None
    assert weight.matrices is not None
    return weight.matrices


def carry(layer: nn.Module, delta: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Send a signal at a layer's outputs back to its input as the layer's derivative would, through another weight.

    Args:
        layer: which operation.
        delta: the signal, ``(batch, outputs, …)``.
        x: the layer's input, for its shape.
        weight: what it travels through, in the layout of the layer's weight.
    """
    call = _call(layer, x, weight)
    carried = call.operation.backward(delta, call.x, weight, (True, False, False))[0]
    assert carried is not None
    return carried


def apply(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """The layer's operation on ``x`` with another weight, in the layout of its own, and without bias."""
    call = _call(layer, x, weight)
    return call.operation.forward(call.x, weight, None)


def _call(layer: nn.Module, x: Tensor, weight: Tensor) -> Call:
    kind = nearest_weight(layer)
    assert kind is not None
    return kind.parse(x, weight, None, *_matrices(layer).arguments(layer))


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


class Inverse(nn.Module, ABC):
    r"""Sends a signal back through a layer by :math:`e = \delta W^+`, in place of the derivative's :math:`\delta W^T`.

    Args:
        name: of the layer, for messages.
        used: how many of the layer's outputs (the first ones) the signal concerns; None for all.
    """

    def __init__(self, name: str, used: int | None) -> None:
        super().__init__()
        self._name, self._used = name, used
        self._was_finite: Late | None = None

    @abstractmethod
    def forward(self, layer: nn.Module, delta: Tensor, x: Tensor) -> Tensor:
        """The signal at the layer's input for a signal at its outputs.

        Args:
            layer: the layer.
            delta: the signal at its outputs, ``(batch, outputs, …)``.
            x: its input.

        Returns:
            e, in the shape of ``x``.

        Raises:
            NotFinite: the weights are singular, or the signal is not finite; on devices that are left free to run ahead
                this is told at the next call.
        """

    @abstractmethod
    def matrices(self, W: Tensor, weight: Tensor) -> Tensor:
        r"""What stands for :math:`W^+` at this call, ``(…, out, fan_in)``.

        Args:
            W: the weight as matrices, ``(…, fan_in, out)``.
            weight: the weight itself.

        Raises:
            NotFinite: the weights are singular, or not finite.
        """

    def _narrow(self, delta: Tensor) -> Tensor:
        return delta if self._used is None else delta[:, : self._used]

    def _finite(self, e: Tensor, W: Tensor | None = None) -> Tensor:
        """The signal e, sent back through W⁺ where that is given; refused where it is not finite."""
        is_finite, self._was_finite = late.are_finite(e, self._was_finite)
        if not is_finite:
            if W is not None:
                pseudo_inverse(W, self._name)  # which says so where W has none
            raise self._not_finite()
        return e

    def _not_finite(self) -> NotFinite:
        return NotFinite(
            f"the error sent back through {self._name!r}, or its weight, is not finite: look for inputs or "
            "a loss that are not, or lower the learning rate"
        )


class ExactInverse(Inverse):
    """The inverse, or pseudo-inverse, of the weights as they are, solved for anew at every call."""

    def forward(self, layer: nn.Module, delta: Tensor, x: Tensor) -> Tensor:
        """See `Inverse.forward`."""
        weight, delta = narrowed(layer, self._used), self._narrow(delta)
        W = as_matrices(layer, weight)
        if multiplies_rows(layer):
            e = through_pseudo_inverse(W, delta.flatten(0, -2), self._name)
            return self._finite(e.view(*delta.shape[:-1], len(W)), W)
        P = self.matrices(W, weight)
        return self._finite(carry(layer, delta, x, as_weight(layer, P.mT, weight)))

    def matrices(self, W: Tensor, weight: Tensor) -> Tensor:
        """See `Inverse.matrices`."""
        return pseudo_inverse(W, self._name)


class _Call(NamedTuple):
    """What a call of a kept inverse tells the next one.

    Attributes:
        address: where the weights lay.
        age: calls since X was made, before this one.
        rho: ρ before the first correction.
        corrections: how many since X was made, this call's included.
        last: how many at this call.
    """

    address: int
    age: int
    rho: float | Late
    corrections: int = 1
    last: int = 1

    def finite_rho(self) -> float:
        """ρ, or nan."""
        rho = self.rho.read() if isinstance(self.rho, Late) else self.rho
        return rho if math.isfinite(rho) else math.nan


class KeptInverse(Inverse):
    r"""An inverse X from an earlier step, with corrections at every step, whose residual is measured.

    For a linear layer the signal is corrected: :math:`e = \delta X`, then :math:`e \leftarrow e + (\delta - e W) X`, as
    often as it takes until about half the tolerance is left: at the first time a residual :math:`\rho` relative to the
    signal leaves about :math:`\rho^2`, later on what the worst rate so far says. X is made anew

    - at the next call, where a call took more corrections than calls did on average since X was made, with what it cost
      to make X (`biograd.credit.back.corrections`);
    - in the same call, where corrections lead nowhere, or take longer than another X. This is so on a CPU, where
      reading ρ costs nothing. Other devices, which are left free to run ahead, are asked for ρ at the next call. That
      foretells how many corrections it takes, or makes X anew where this cannot be foretold; until then one signal is
      off, and zero where ρ ≥ 1;
    - where the weights lie elsewhere in memory than those that X was made for.

    Convolutional and locally connected layers have few and small matrices, and for these X itself is corrected, once a
    call, as it is inside blocks of several weights: :math:`X \leftarrow X + X (I - W X)`. It is made anew where
    :math:`\rho^2` is more than half the tolerance, or would be at the next call if it went on growing as it did.

    Args:
        name: of the layer.
        W: square matrices ``(…, fan_in, fan_in)`` like those to come, whose dtype and device it takes.
        tolerance: largest relative residual after the corrections, in (0, 1).

    Attributes:
        X: ``(…, fan_in, fan_in)``.
        residual: the last ρ before a correction; 1 before the first call, and after a signal that was all zero.
        age: calls since X was made, −1 before the first.
        corrections: how many since X was made.
        latest: how many of these at the last call.
    """

    def __init__(self, name: str, W: Tensor, tolerance: float) -> None:
        super().__init__(name, None)
        self.register_buffer("X", torch.zeros_like(W, memory_format=torch.contiguous_format))
        self.register_buffer("residual", torch.ones((), dtype=W.dtype, device=W.device))
        self.register_buffer("age", torch.tensor(-1))
        self.register_buffer("corrections", torch.tensor(0))
        self.register_buffer("latest", torch.tensor(0))
        self.X: Tensor
        self.residual: Tensor
        self.age: Tensor
        self.corrections: Tensor
        self.latest: Tensor
        self._enough = tolerance / 2  # up to 1.4 ρ² was seen to be left
        self._limit = math.sqrt(self._enough)
        self._last: _Call | None = None  # unknown after copying or loading a state

    def forward(self, layer: nn.Module, delta: Tensor, x: Tensor) -> Tensor:
        """See `Inverse.forward`."""
        matrices, weight = _matrices(layer), _weight(layer).detach()
        address = weight.data_ptr()
        if not matrices.multiplies_rows:
            P = self._corrected(as_matrices(layer, weight), address, delta)
            return carry(layer, delta, x, as_weight(layer, P.mT, weight))
        rows = delta if delta.dim() == 2 else delta.flatten(0, -2)
        e = self._through(matrices.layout.as_matrices(weight), rows, address)
        return e if rows is delta else e.view(delta.shape)

    def matrices(self, W: Tensor, weight: Tensor) -> Tensor:
        """See `Inverse.matrices`."""
        return self._corrected(W, weight.data_ptr(), W)

    def _through(self, W: Tensor, rows: Tensor, address: int) -> Tensor:
        """The rows through X, corrected."""
        past, cost = self._past(address), cost_of_another(W, rows)
        rho = self._finite_residual(past)
        at_once = late.is_read_at_once(W.device)
        growth = 1 + 1 / max(past.age, 1)  # until this call, if the weights moved on as they had
        is_off = rho >= 1 if at_once else rho * growth > FARTHEST
        if is_off or past.address != address or is_dear(past.last, past.corrections, past.age + 1, cost):
            past, rho = self._renewed(W, address), 0.0
        if not at_once:
            return self._corrected_as_foretold(W, rows, past, foretold(rho * growth, self._enough))
        e = self._corrected_until_enough(W, rows, past, cost)
        if e is None:
            e = self._corrected_until_enough(W, rows, self._renewed(W, address), cost)
        assert e is not None
        return e

    def _corrected_until_enough(self, W: Tensor, rows: Tensor, past: _Call, most: float) -> Tensor | None:
        """Rows through X; None where it would take more further corrections, or they lead nowhere, and X is not new."""
        X, missing, before, first, rate, count = self.X, None, 1.0, 1.0, 0.0, 0
        # e = δ X
        e, scale = rows @ X, torch.linalg.vector_norm(rows).item()
        while True:
            # e ← e + (δ − e W) X
            missing = torch.addmm(rows, e, W, alpha=-1, out=missing)
            rho = torch.linalg.vector_norm(missing).item() / scale if scale else 1.0
            e.addmm_(missing, X)
            first, count, rate = first if count else rho, count + 1, max(rate, rho / before)
            left = further(rho, rate, self._enough) if scale else 0.0
            if not left:
                break
            if not left <= most:
                self._note(first, past, count)
                self._finite_residual()
                if past.age >= 0:
                    return None
                break
            before = rho
        self._note(first, past, count)
        return self._unless_useless(e, rho)

    def _corrected_as_foretold(self, W: Tensor, rows: Tensor, past: _Call, count: int) -> Tensor:
        """Rows through X, after so many corrections."""
        # e = δ X
        e, scale = rows @ self.X, torch.linalg.vector_norm(rows)
        for place in range(count):
            # e ← e + (δ − e W) X
            missing = torch.addmm(rows, e, W, alpha=-1)
            if not place:
                self.residual.copy_(torch.linalg.vector_norm(missing) / scale).masked_fill_(scale == 0, 1)
            e.addmm_(missing, self.X)
        self._note(Late.of(self.residual), past, count)
        return torch.where(self.residual >= 1, 0.0, e)

    def _corrected(self, W: Tensor, address: int, delta: Tensor) -> Tensor:
        """X, corrected."""
        past = self._past(address)
        growth = 1 + 1 / max(past.age, 1)
        if self._finite_residual(past) * growth > self._limit or past.address != address:
            past = self._renewed(W, address)
        rho = self._correct(W, past)
        if not isinstance(rho, Late) and rho > self._limit:
            self._finite_residual()
            if delta.any():
                self._correct(W, self._renewed(W, address))
        return self.X

    def _correct(self, W: Tensor, past: _Call) -> float | Late:
        # X ← X + X (I − W X)
        missing = torch.eye(W.shape[-1], dtype=W.dtype, device=W.device) - W @ self.X
        self.residual.copy_(torch.linalg.vector_norm(missing) / math.sqrt(missing[..., 0].numel()))
        corrected = self.X + self.X @ missing
        if late.is_read_at_once(W.device):
            rho = self.residual.item()
            self.X = self._unless_useless(corrected, rho)
        else:
            rho = Late.of(self.residual)
            self.X = torch.where(self.residual >= 1, 0.0, corrected)
        self._note(rho, past)
        return rho

    def _past(self, address: int) -> _Call:
        """What the last call told; of one that is not known, what the state says, for weights that lie here."""
        replays.refuse("keeps inverses, and makes them anew where they are off")
        if self._last is None:
            counts = int(self.corrections), int(self.latest)
            return _Call(address, int(self.age), self.residual.item(), *counts)
        return self._last

    def _renewed(self, W: Tensor, address: int) -> _Call:
        """Make X anew; what a call before the next one would have told."""
        # Laid out as after loading a state, so that products have the same bits.
        self.X = pseudo_inverse(W, self._name).contiguous()
        return _Call(address, -1, 0.0, 0, 0)

    def _finite_residual(self, past: _Call | None = None) -> float:
        """ρ of a call, this one unless given."""
        past = past or self._last
        assert past is not None
        rho = past.finite_rho()
        if math.isnan(rho):
            self.residual.fill_(1)  # a caller who goes on all the same begins anew
            self._last = None
            raise self._not_finite() if self.X.isfinite().all() else singular(self._name)
        return rho

    def _note(self, rho: float | Late, past: _Call, count: int = 1) -> None:
        """Keep what this call has to tell the next one, and in the state."""
        corrections = past.corrections + count
        self._last = _Call(past.address, past.age + 1, rho, corrections, count)
        if not isinstance(rho, Late):
            self.residual.fill_(rho)
        self.age.fill_(past.age + 1)
        self.corrections.fill_(corrections)
        self.latest.fill_(count)

    def _unless_useless(self, corrected: Tensor, rho: float) -> Tensor:
        """Zero where ρ ≥ 1, since corrections would not converge."""
        return corrected.zero_() if rho >= 1 else corrected

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._last = None


class LearnedInverse(Inverse):
    r"""A linear map X that learns to undo W from noise: gradient descent on :math:`E \|u W X - u\|^2`, u normal.

    Its minimum is :math:`W^+`; where W has more outputs than inputs, one of several X with W X = I. It starts random,
    and learns of W from noise alone.

    Args:
        name: of the layer.
        W: matrices ``(…, fan_in, out)`` like those to come, of the outputs that count; it takes their dtype and device.
        used: see `Inverse`.
        generator: draws X to begin with; on the CPU the numbers are the same whatever the device.

    Attributes:
        X: ``(…, out, fan_in)``, learned.
    """

    def __init__(self, name: str, W: Tensor, used: int | None, generator: torch.Generator) -> None:
        super().__init__(name, used)
        start = torch.randn(W.mT.shape, dtype=W.dtype, device=generator.device, generator=generator)
        self.X = nn.Parameter((start / math.sqrt(max(W.shape[-2:]))).to(W.device))

    def forward(self, layer: nn.Module, delta: Tensor, x: Tensor) -> Tensor:
        """See `Inverse.forward`."""
        weight = narrowed(layer, self._used)
        return self._finite(
            carry(layer, self._narrow(delta), x, as_weight(layer, self.X.detach().mT, weight))
        )

    def matrices(self, W: Tensor, weight: Tensor) -> Tensor:
        """See `Inverse.matrices`."""
        return self.X.detach()

    def reconstruction(self, W: Tensor, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What noise comes back as, ``(…, rows, fan_in)``, and the derivative of the mean loss by it.

        Args:
            W: what it is to undo: matrices ``(…, fan_in, out)`` of the outputs that count.
            rows: how many noise vectors for each matrix.
            generator: of the noise, on the device of W.
        """
        shape = (*W.shape[:-2], rows, W.shape[-2])
        u = torch.randn(shape, dtype=W.dtype, device=W.device, generator=generator)
        with torch.autocast(W.device.type, enabled=False):  # X has the precision of the weights to reach
            back = (u @ W) @ self.X
        return back, (back.detach() - u) * (2 / rows)
