"""What stands for the inverse of a layer's weights when errors or targets travel back through it."""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from biograd.credit import late, replays
from biograd.credit.back.corrections import FARTHEST, cost_of_another, foretold, further, is_dear
from biograd.credit.back.pseudo_inverse import pseudo_inverse, singular, through_pseudo_inverse
from biograd.credit.back.weight_matrices import (
    as_matrices,
    as_weight,
    carry,
    matrices_of,
    multiplies_rows,
    narrowed,
)
from biograd.credit.late import Late
from biograd.errors import NotFinite


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
        matrices, weight = matrices_of(layer), narrowed(layer, None)
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
        state: dict[str, Any] = self._buffers
        if not isinstance(rho, Late):
            state["residual"].fill_(rho)
        state["age"].fill_(past.age + 1)
        state["corrections"].fill_(corrections)
        if count != past.last:  # else it holds that already
            state["latest"].fill_(count)

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
