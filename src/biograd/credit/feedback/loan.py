"""Matrices that stand for a net's weights while a signal is carried back, and at no other time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from torch import Tensor

from biograd.credit.operations import Lent


class Loan:
    """Lends a matrix for each weight of a net, for a while; of weights that no signal comes to none is made.

    Args:
        weights: by name.
        make: ``make(name, weight)`` gives what stands for a weight, in its shape.

    Attributes:
        feedback: what is lent, as a `biograd.credit.feedback.path.FeedbackPath` takes it.
        used: names of the weights that something was made for.
        weights: by name.
    """

    def __init__(self, weights: Mapping[str, Tensor], make: Callable[[str, Tensor], Tensor]) -> None:
        self.feedback = {name: Lent(partial(self._matrix, name)) for name in weights}
        self.used: set[str] = set()
        self.weights, self._make = weights, make
        self._made: dict[str, Tensor] | None = None

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """A context in which errors travel back through what is lent."""
        self._made = {}
        try:
            yield
        finally:
            self._made = None

    def _matrix(self, name: str) -> Tensor | None:
        if self._made is None:
            return None
        if name not in self._made:
            self._made[name] = self._make(name, self.weights[name])
            self.used.add(name)
        return self._made[name]
