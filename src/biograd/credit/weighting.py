"""What multiplies all that one call teaches: a number, or a number an example."""

from typing import Any

import torch
from torch import Tensor

from biograd.errors import UserMistake

Weight = float | Tensor | None
"""A number, a scalar tensor, or ``(batch,)`` numbers; None for 1."""


class Weighting:
    r"""Scales the derivatives that a call teaches from, :math:`\delta_b \leftarrow w_b\, \delta_b` for example b.

    Args:
        weight: w; a number stands for all examples.
        batch: how many examples there are; None where nothing says so, and every number stands for all.

    Raises:
        UserMistake: it is neither a number nor a number an example.

    Example:
        >>> Weighting(torch.tensor([1.0, 0.0]), 2).of(torch.ones(2, 3))
        tensor([[1., 1., 1.],
                [0., 0., 0.]])
    """

    def __init__(self, weight: Weight, batch: int | None) -> None:
        self._weight = _checked(weight, batch)
        self._batch = 0 if batch is None else batch

    @property
    def is_one(self) -> bool:
        """Whether it leaves everything as it is."""
        return self._weight is None

    @property
    def differs(self) -> bool:
        """Whether it has a number for each example."""
        return isinstance(self._weight, Tensor) and self._weight.dim() == 1

    def of(self, derivative: Tensor) -> Tensor:
        """A derivative ``(batch, …)`` scaled, or one of several batches behind one another.

        Raises:
            UserMistake: it has no examples on its first axis, which numbers an example could scale.
        """
        if self._weight is None:
            return derivative
        if not self.differs:
            return self.of_all(derivative)
        self._require_examples(derivative)
        rows = self._tensor(derivative).repeat(len(derivative) // max(self._batch, 1))
        return _times(derivative, rows.view(-1, *(1,) * (derivative.dim() - 1)))

    def of_all(self, derivative: Tensor) -> Tensor:
        """What belongs to no single example (a penalty, a lesson from noise) scaled by the mean of the weights."""
        if self._weight is None:
            return derivative
        if isinstance(self._weight, Tensor):
            return _times(derivative, self._tensor(derivative).mean())
        return derivative * self._weight

    def by_size(self, derivative: Tensor) -> Tensor:
        """Scaled by the mean of the weights without their signs: what was normalised after its rows were scaled."""
        if self._weight is None:
            return derivative
        return _times(derivative, self._tensor(derivative).abs().mean())

    def and_also(self, importance: Tensor | None) -> "Weighting":
        """This one times an importance of each example, ``(batch,)``; None leaves it."""
        if importance is None:
            return self
        return Weighting(
            importance if self._weight is None else importance * self._tensor(importance), self._batch
        )

    def _require_examples(self, derivative: Tensor) -> None:
        if derivative.dim() == 0 or len(derivative) % max(self._batch, 1):
            raise UserMistake(
                f"the loss reads an output {tuple(derivative.shape)}, whose first axis does not hold the {self._batch} "
                "examples of the batch, so that a weight an example cannot scale what it teaches: give one number as "
                "the weight, or compute the loss from outputs (batch, …)"
            )

    def _tensor(self, like: Tensor) -> Tensor:
        dtype = like.dtype if like.dtype.itemsize >= 4 else torch.float32
        return torch.as_tensor(self._weight, dtype=dtype, device=like.device)


def _times(derivative: Tensor, weight: Tensor) -> Tensor:
    """The product, rounded once: in bfloat16 a weight would be off by up to 0.4 % itself, and all it scales."""
    return (derivative.to(weight.dtype) * weight).to(derivative.dtype)


def _checked(weight: Any, batch: int | None) -> Weight:
    if isinstance(weight, Tensor):
        if weight.dim() == 0 or weight.shape == (batch,):
            return weight.detach()
    elif weight is None or (isinstance(weight, int | float) and not isinstance(weight, bool)):
        return weight
    came = f"a tensor {tuple(weight.shape)}" if isinstance(weight, Tensor) else f"a {type(weight).__name__}"
    if batch is None:
        raise UserMistake(
            f"weight must be a number where no tensor in x says how many examples there are; got {came}"
        )
    raise UserMistake(
        f"weight must be a number, or a tensor of one number an example, ({batch},); got {came}"
    )


UNWEIGHTED = Weighting(None, 0)
