"""The simulation of any activation, by feedback alignment or backpropagation."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from biograd.theory.batch import Batch
from biograd.theory.problem import Problem
from biograd.theory.settings import SimulationSettings


class GeneralBatch(Batch):
    r"""Algorithms 1 and 2, and backpropagation beside them, on U.

    .. math::

        f &= \psi(U) \beta / \sqrt p, \qquad e = f - y \\
        U &\leftarrow U - \tfrac{\eta}{\sqrt p} K\, [(e \circ \psi'(U))\, \mathrm{diag}(b)] \\
        \beta &\leftarrow (1 - \eta\lambda(t))\, \beta - \tfrac{\eta}{\sqrt p} \psi(U)^\top e

    with η of the paper's units before the sums, both from the same forward pass; backpropagation has β for b.

    With ψ(u) = a + cφ(ku) it is V = kU that is kept, so that a step goes four times over an ``(n, p)`` slab: φ, its
    product with β, φ'(V) diag(b), and the product with K that is subtracted from V; all of it in place.
    """

    tensors: ClassVar[tuple[str, ...]] = (*Batch.tensors, "V", "weights", "push")

    def __init__(self, settings: SimulationSettings, problems: Sequence[Problem]) -> None:
        super().__init__(settings, problems)
        self.psi = settings.nonlinearity
        self.V = self.psi.inner * self.U0
        self.weights = self.beta0.clone()
        self.push = self.K * (self.gamma * self.psi.outer * self.psi.inner**2)
        self._make_room()

    def _make_room(self) -> None:
        """Buffers, and views of them: a matrix times a vector is fastest slab by slab."""
        m, n, p = self.V.shape
        self.squashed, self.pulled = torch.empty_like(self.V), torch.empty_like(self.V)
        self.output, self.e = self.V.new_empty(m, n, 1), self.V.new_empty(m, n, 1)
        self.moved = torch.empty_like(self.push)
        self.row = self.weights.view(m, 1, p)
        back = self.b if self.settings.method == "fa" else self.weights
        self.back = back.view(m, 1, p).expand(m, n, p)
        column = self.weights.view(m, p, 1)
        self.slabs = [(self.squashed[i : i + 1], column[i : i + 1], self.output[i : i + 1]) for i in range(m)]

    def keep(self, which: Tensor) -> None:
        """Go on with some of the slabs alone."""
        super().keep(which)
        self._make_room()

    def step(self, kept: Tensor) -> None:
        """Take one step of all slabs."""
        self._forward()
        self.psi.slope(self.back, self.squashed, self.pulled)
        torch.mul(self.push, self.e.mT, out=self.moved)
        self.V.baddbmm_(self.moved, self.pulled, alpha=-1)
        self.weights.mul_(kept[:, None])
        self.row.baddbmm_(self.e.mT, self.squashed, alpha=-self.gamma * self.psi.outer)
        if self.psi.offset:
            self.weights.sub_(self.e.sum(1), alpha=self.gamma * self.psi.offset)

    def _forward(self) -> None:
        """Leave φ(V) and e."""
        self.psi.squash(self.V, self.squashed)
        for squashed, weights, output in self.slabs:
            torch.bmm(squashed, weights, out=output)
        torch.sub(self.output, self.y[:, :, None], alpha=1 / (self.psi.outer * self.scale), out=self.e)
        if self.psi.offset:
            sums = self.weights.sum(1)[:, None, None]
            self.e.add_(sums, alpha=self.psi.offset / self.psi.outer)
        self.e.mul_(self.psi.outer * self.scale)

    def error(self) -> Tensor:
        """The error f - y."""
        self._forward()
        return self.e[:, :, 0].clone()

    def beta(self) -> Tensor:
        """β."""
        return self.weights

    def first_layer_distance(self) -> Tensor:
        """‖W - W₀‖."""
        return (self.root @ (self.V / self.psi.inner - self.U0)).flatten(1).norm(dim=1)
