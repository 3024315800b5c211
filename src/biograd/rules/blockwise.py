"""Rules that run over a chain in a way of their own."""

from typing import ClassVar

from torch import Tensor, nn

from biograd.credit.chain.blocks import Block, require_layers
from biograd.credit.structures import require_tensor_for
from biograd.rules.base import Nets, Rule
from biograd.rules.parts.chains import CutPoints, Inside, blocks_for_a_rule, suggesting_rules_for_any_net


class Blockwise(Rule):
    """A rule that teaches block by block, in as many passes as it likes.

    A rule defines `assign_credit`, over the blocks that `chain` gives.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`; or any net at named cut points.
        sample: one input, batch of one; needed where cut points are named.
        inside: ``exact`` where hidden blocks may have several weight layers.
        blocks: the cut points; see `biograd.credit.chain.cut_points.named_modules`.

    Raises:
        UnsupportedNet: the net is no chain and cannot be cut where the user says, or backpropagation would hide inside
            a block of a chain.
    """

    nets: ClassVar[Nets] = "chain"

    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        inside: Inside = None,
        blocks: CutPoints = (),
    ) -> None:
        super().__init__()
        if sample is not None:
            require_tensor_for(type(self).__name__, sample)
        self._taught = blocks_for_a_rule(net, sample, inside, blocks)
        with suggesting_rules_for_any_net():
            require_layers(self.chain(net), type(self).__name__)

    def chain(self, net: nn.Module, x: Tensor | None = None) -> list[Block]:
        """The blocks of a net; where a batch ``x`` is about to run through them, what they do with it is seen to.

        Raises:
            UnsupportedNet: it has other blocks than the net that the rule was made for, or one uses its weight several
                times and may not.
        """
        return self._taught.of(net, x)
