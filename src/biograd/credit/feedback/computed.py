"""What a feedback path knows of the weights that a net computes."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from torch import Tensor

from biograd.credit.feedback.computed_weights import ComputedWeight
from biograd.credit.feedback.fitting import READY, Standing, fitting
from biograd.credit.feedback.weights import Role, role


class Computed(NamedTuple):
    """A weight that a net computes, as a `FeedbackPath` takes it.

    Attributes:
        name: the weight's name.
        weight: how it is computed.
        role: what it is to errors; see `biograd.credit.feedback.weights.role`.
        feedback: stands for it where it carries errors back, else None.
        is_offset: whether it is known to be added to activations.
    """

    name: str
    weight: ComputedWeight
    role: Role
    feedback: Standing | None
    is_offset: bool

    def watched_parts(self) -> Iterator[tuple[str, Tensor]]:
        """The matrices that it is computed of, by name: used in another way, errors could pass them."""
        if self.role in ("carries", "looked up"):
            yield from ((name, part) for name, part in self.weight.parts.items() if part.dim() >= 2)


def as_taught(
    computed: Mapping[str, ComputedWeight],
    weights: Mapping[str, Tensor],
    feedback: Mapping[str, Standing],
    exact: Collection[str],
    offsets: Collection[str],
) -> dict[str, Computed]:
    """Computed weights by name, with feedback where they are among the taught ``weights``."""
    return {
        name: _taught(name, weight, fitting(name, weights[name], feedback), name in offsets)
        if name in weights
        else _untaught(name, weight, role(name, weight, exact))
        for name, weight in computed.items()
    }


def _taught(name: str, weight: ComputedWeight, feedback: Standing, is_offset: bool) -> Computed:
    once = (
        feedback if isinstance(feedback, READY) else cache(feedback)
    )  # however often the weight is computed
    return Computed(name, weight, "carries", once, is_offset)


def _untaught(name: str, weight: ComputedWeight, role: Role) -> Computed:
    return Computed(
        name, weight, "beside" if role == "carries" else role, None, False
    )  # a vector carries none
