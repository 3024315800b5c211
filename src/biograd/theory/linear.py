"""The linear network under feedback alignment, where a step costs n² whatever the width."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from biograd.theory.batch import Batch
from biograd.theory.problem import Problem
from biograd.theory.settings import SimulationSettings


class LinearBatch(Batch):
    r"""Algorithms 1 and 2 for ψ(u) = u, exactly, in few numbers.

    All steps of U are multiples of b, and those of β lie in the span of β₀, b and the rows of U₀:

    .. math::

        U_t = U_0 + a_t b^\top, \qquad \beta_t = c_t \beta_0 + U_0^\top v_t + s_t b,

    so that with γ = η/√p, κ = 1 - ηλ(t), G = U₀U₀ᵀ, h = U₀β₀ and q = U₀b

    .. math::

        e &= (c h + G v + s q + (b \cdot \beta)\, a) / \sqrt p - y, \qquad
        b \cdot \beta = c\, b \cdot \beta_0 + q \cdot v + s\, b \cdot b \\
        a &\leftarrow a - \gamma K e, \quad c \leftarrow \kappa c, \quad v \leftarrow \kappa v - \gamma e, \quad
        s \leftarrow \kappa s - \gamma\, a \cdot e.
    """

    tensors: ClassVar[tuple[str, ...]] = (
        *Batch.tensors,
        *("G", "h", "q", "overlap", "length", "a", "v", "c", "s"),
    )

    def __init__(self, settings: SimulationSettings, problems: Sequence[Problem]) -> None:
        super().__init__(settings, problems)
        self.G = self._slabs([_gram(problem) for problem in problems])
        self.h = self._slabs([problem.X @ (problem.W.T @ problem.beta) for problem in problems])
        self.q = self._slabs([problem.X @ (problem.W.T @ problem.b) for problem in problems])
        self.overlap = (self.b * self.beta0).sum(1, keepdim=True)
        self.length = self.b.square().sum(1, keepdim=True)
        self.a, self.v = torch.zeros_like(self.y), torch.zeros_like(self.y)
        self.c, self.s = torch.ones_like(self.overlap), torch.zeros_like(self.overlap)

    def step(self, kept: Tensor) -> None:
        """Take one step of all slabs."""
        e, kept = self.error(), kept[:, None]
        self.c *= kept
        self.s.mul_(kept).sub_((self.a * e).sum(1, keepdim=True), alpha=self.gamma)
        self.v.mul_(kept).sub_(e, alpha=self.gamma)
        self.a.sub_(_times(self.K, e), alpha=self.gamma)

    def error(self) -> Tensor:
        """The error f - y."""
        aligned = self.c * self.overlap + (self.q * self.v).sum(1, keepdim=True) + self.s * self.length
        f = _times(self.G, self.v).addcmul_(self.c, self.h).addcmul_(self.s, self.q).addcmul_(aligned, self.a)
        return f.mul_(self.scale).sub_(self.y)

    def beta(self) -> Tensor:
        """β."""
        return self.c * self.beta0 + (self.v[:, None] @ self.U0)[:, 0] + self.s * self.b

    def first_layer_distance(self) -> Tensor:
        """‖W - W₀‖."""
        return (self.root @ self.a[:, :, None])[:, :, 0].norm(dim=1) * self.length[:, 0].sqrt()


def _gram(problem: Problem) -> np.ndarray:
    U = problem.X @ problem.W.T
    return U @ U.T


def _times(symmetric: Tensor, vectors: Tensor) -> Tensor:
    """Symmetric matrices times vectors, which is fastest as rows times matrices."""
    return torch.bmm(vectors[:, None], symmetric)[:, 0]
