"""The state of all trials and all λ of a chunk, as tensors with one slab for each trial and λ."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from biograd.theory.problem import Problem
from biograd.theory.settings import SimulationSettings


class Batch(ABC):
    r"""Slabs that take their steps together: m = trials × λ of them, trial after trial.

    Of the first layer only :math:`U = X W^\top` is simulated, ``(n, p)``: since W moves within the span of the inputs,
    this says all about it. Its steps need no more of the inputs than :math:`K = X X^\top`.

    Args:
        settings: activation, algorithm, precision.
        problems: the trials.

    Attributes:
        K: ``(m, n, n)``.
        y: ``(m, n)``.
        U0: U at the start, ``(m, n, p)``.
        beta0: β at the start, ``(m, p)``.
        b: ``(m, p)``.
        root: the square root of the pseudo-inverse of K, ``(m, n, n)``: ‖W - W₀‖ = ‖root (U - U₀)‖.
    """

    tensors: ClassVar[tuple[str, ...]] = ("K", "y", "U0", "beta0", "b", "root")
    """What has a slab for each trial and λ, by name."""

    def __init__(self, settings: SimulationSettings, problems: Sequence[Problem]) -> None:
        self.settings = settings
        self.scale = settings.width**-0.5
        self.gamma = settings.gradient_rate * self.scale
        grams = [problem.X @ problem.X.T for problem in problems]
        self.K = self._slabs(grams)
        self.y = self._slabs([problem.y for problem in problems])
        self.U0 = self._slabs([problem.X @ problem.W.T for problem in problems])
        self.beta0 = self._slabs([problem.beta for problem in problems])
        self.b = self._slabs([problem.b for problem in problems])
        self.root = self._slabs([inverse_root(gram) for gram in grams])

    def _slabs(self, arrays: Sequence[np.ndarray]) -> Tensor:
        """One array a trial, as many times as there are λ."""
        dtype = getattr(torch, self.settings.precision)
        stacked = torch.from_numpy(np.stack(arrays)).to(dtype)
        return stacked.repeat_interleave(len(self.settings.regularization), 0)

    @abstractmethod
    def step(self, kept: Tensor) -> None:
        """Take one step of all slabs.

        Args:
            kept: 1 - ηλ(t) of each, ``(m,)``.
        """

    @abstractmethod
    def error(self) -> Tensor:
        """The error f - y, ``(m, n)``."""

    @abstractmethod
    def beta(self) -> Tensor:
        """β, ``(m, p)``."""

    @abstractmethod
    def first_layer_distance(self) -> Tensor:
        """‖W - W₀‖ (Frobenius), ``(m,)``."""

    def keep(self, which: Tensor) -> None:
        """Go on with some of the slabs alone.

        Args:
            which: their numbers, ``(fewer,)``.
        """
        for name in self.tensors:
            setattr(self, name, getattr(self, name)[which])

    def measure(self) -> dict[str, Tensor]:
        """Of each slab ``mean_square cosine first_layer second_layer``, in double precision.

        The mean squared error, cos∠(b, β) (what errors go back through beside what they would by backpropagation),
        ‖W - W₀‖ and ‖β - β₀‖.
        """
        beta = self.beta()
        return {
            "mean_square": self.error().double().square().mean(1),
            "cosine": torch.cosine_similarity(self.b.double(), beta.double(), dim=1),
            "first_layer": self.first_layer_distance().double(),
            "second_layer": (beta - self.beta0).double().norm(dim=1),
        }


def inverse_root(gram: np.ndarray) -> np.ndarray:
    """A root R of the pseudo-inverse of a symmetric matrix that has no negative eigenvalue: the former is RᵀR.

    Example:
        >>> inverse_root(np.diag([4.0, 0.0])).round(6)
        array([[0. , 0. ],
               [0.5, 0. ]])
    """
    values, vectors = np.linalg.eigh(gram)
    is_zero = values <= values.max() * len(gram) * np.finfo(gram.dtype).eps
    return np.where(is_zero, 0, 1 / np.sqrt(np.where(is_zero, 1, values)))[:, None] * vectors.T
