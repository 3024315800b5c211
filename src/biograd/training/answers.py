"""Which tensor answers, of a net that gives several: metrics judge it, and the losses by name read it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from biograd.credit.structures import outlined, part_of
from biograd.errors import UserMistake
from biograd.training.losses import Loss


def answer(output: Any, path: str | None) -> Tensor:
    """The tensor of an output that answers.

    Args:
        output: of the net.
        path: its place in the output (see `biograd.credit.structures.part_of`); None where the output is that tensor.

    Raises:
        UserMistake: there is no tensor.
    """
    found = output if path is None else part_of(output, path)
    if isinstance(found, Tensor):
        return found
    whose = "the net gives" if path is None else f"answers = {path!r} stands for"
    raise UserMistake(
        f"{whose} {outlined(found)}, and one tensor is to be judged: say which by answers (--answers), a key, an "
        "attribute or a place, as logits, heads.policy or 0"
    )


@dataclass(frozen=True)
class OfAnswer:
    """A loss of the tensor that answers, as a loss of the whole output.

    Args:
        loss: of that tensor and the targets.
        path: see `answer`.
    """

    loss: Loss
    path: str

    def __call__(self, output: Any, y: Tensor) -> Tensor:
        """The loss."""
        return self.loss(answer(output, self.path), y)
