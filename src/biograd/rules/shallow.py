"""Only the last block learns: the baseline that every rule must beat."""

from dataclasses import replace
from typing import Any, ClassVar

from torch import nn

from biograd.credit.chain.lesson import Lesson
from biograd.rules.base import Awaited, ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.examples import CHAINS, Examples
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.settings import checked_settings


class Shallow(BlockRule):
    r"""Shallow learning, :math:`\delta_l = 0` below the output block: hidden layers keep their initial weights.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; needed where cut points are named.
    """

    family: ClassVar[Family] = "baseline"
    error_weights: ClassVar[ErrorWeights] = "none"
    reads_several_outputs: ClassVar[bool] = True
    waits_for: ClassVar[Awaited] = "nothing"
    teaches_hidden_layers: ClassVar[bool] = False
    examples: ClassVar[Examples] = replace(CHAINS, falls_to={"convolutional": 0.7, "locally-connected": 0.9})

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        inside: Inside = None,
        blocks: CutPoints = (),
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks)

    def teaching_signals(self, lesson: Lesson) -> list[None]:
        """Nothing for any hidden block."""
        # δ_l = 0 for l < L
        return [None] * len(lesson.hidden)
