"""Only the last block learns: the baseline that every rule must beat."""

from typing import ClassVar

from torch import Tensor, nn

from biograd.rules.block_rule import BlockRule, Lesson


class Shallow(BlockRule):
    r"""Shallow learning, :math:`\delta_l = 0` below the output block: hidden layers keep their initial weights.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.
        sample: not needed.
    """

    family: ClassVar[str] = "baseline"

    teaches_hidden_layers: ClassVar[bool] = False

    def __init__(self, net: nn.Module, sample: Tensor | None = None) -> None:
        super().__init__(net, sample)

    def teaching_signals(self, lesson: Lesson) -> list[None]:
        """Nothing for any hidden block."""
        return [None] * len(lesson.hidden)
