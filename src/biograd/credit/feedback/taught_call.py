"""Calls of taught weights, as those are told who watch a forward."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from biograd.credit.feedback.forms import Form
from biograd.credit.operations import Operation


class TaughtCall(NamedTuple):
    """One call of a taught weight, as an `OnCall` receives it.

    Attributes:
        name: the weight's name.
        operation: what was done with it.
        input_shape: shape of the input, with its batch dimension.
        carries_error: whether an error travels on to the layer below; not so in the first layer.
        form: what was used of the weight: all of it, or a part, or its transpose.
    """

    name: str
    operation: Operation
    input_shape: torch.Size
    carries_error: bool
    form: Form


OnCall = Callable[[TaughtCall], None]
"""A function of one `TaughtCall`."""


def summed_up(calls: Sequence[TaughtCall]) -> Iterator[TaughtCall]:
    """One call a weight, with all the inputs that it had."""
    by_name: dict[str, list[TaughtCall]] = {}
    for call in calls:
        by_name.setdefault(call.name, []).append(call)
    for name, made in by_name.items():
        rows = sum(call.input_shape[:-1].numel() for call in made)
        shape = torch.Size((rows, made[0].input_shape[-1]))
        carries_error = any(call.carries_error for call in made)
        yield TaughtCall(name, made[0].operation, shape, carries_error, made[0].form)
