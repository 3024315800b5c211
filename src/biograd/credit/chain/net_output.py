"""What a net at cut points gives, read as one tensor: its only one of real numbers, or several behind one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from biograd.credit.structures import outlined, tensors_in
from biograd.errors import UnsupportedNet, UserMistake

Errors = Sequence[tuple[Tensor, Tensor | None]]
"""Tensors of a structure in order, each with the derivative of a loss by it, None where the loss does not read it."""


@dataclass(frozen=True)
class NetOutput:
    """How what a net gives is read as one tensor.

    Attributes:
        holds_examples: of each tensor of real numbers in it, in order, whether its first axis counts the examples.
        readouts: names of the named modules, beside the last, that lead to one of several tensors and to no other
            named module: they belong to the last block.
    """

    holds_examples: tuple[bool, ...]
    readouts: tuple[str, ...] = ()

    @property
    def is_one(self) -> bool:
        """Whether it is one tensor, in its own shape."""
        return len(self.holds_examples) == 1

    def joined(self, given: Any, examples: int | None) -> Tensor:
        """What the net gave as one tensor, with its graph.

        Args:
            given: by the net.
            examples: how many the batch has; None where nothing says so.

        Returns:
            The only tensor of real numbers, as it is; of several those that hold examples, each example's numbers
            behind one another, ``(batch, numbers)``.

        Raises:
            UnsupportedNet: there are others than when the rule was made.
        """
        if isinstance(given, Tensor) and self.is_one:
            return given
        found = [tensor for tensor in tensors_in(given) if tensor.is_floating_point()]
        if len(found) != len(self.holds_examples):
            raise UnsupportedNet(
                f"the net gives {outlined(given)}, of which {len(found)} hold real numbers, and "
                f"{len(self.holds_examples)} did when the rule was made: let it give the same at every batch"
            )
        if self.is_one:
            return found[0]
        kept = [tensor for tensor, is_kept in zip(found, self.holds_examples, strict=True) if is_kept]
        other = next((tensor for tensor in kept if not tensor.dim() or len(tensor) != examples), None)
        if other is not None:
            raise UnsupportedNet(
                f"the net gives {outlined(given)}, of which one, {tuple(other.shape)}, does not have the {examples} "
                "examples on its first axis, as it had when the rule was made: let it give (batch, …)"
            )
        return _behind_one_another(kept)

    def error(self, output: Tensor, errors: Errors) -> Tensor:
        """The derivative of a loss by what `joined` gave, 0 for what the loss does not read.

        Args:
            output: what it gave.
            errors: of all tensors in the structure that a derivative can be taken by.

        Raises:
            UserMistake: the loss reads a tensor that is no part of it.
        """
        if self.is_one:
            found = next((error for tensor, error in errors if tensor is output), None)
            return torch.zeros_like(output) if found is None else found
        holds, kept = iter(self.holds_examples), []
        for tensor, error in errors:
            is_kept = tensor.is_floating_point() and next(holds)
            if error is not None and not is_kept:
                raise UserMistake(
                    f"the loss reads an output {tuple(tensor.shape)}, whose first axis does not hold the examples (or "
                    "whose numbers are not real), so that its error cannot be told to hidden blocks: compute the loss "
                    "from outputs (batch, …), or use a rule for any net (bp, fa and other feedback rules)"
                )
            if is_kept:
                kept.append(torch.zeros_like(tensor) if error is None else error)
        return _behind_one_another(kept)


def _behind_one_another(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(len(tensor), -1) for tensor in tensors], 1)
