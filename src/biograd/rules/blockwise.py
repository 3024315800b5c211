"""Rules that run over a chain in a way of their own."""

from typing import ClassVar

from torch import Tensor, nn

from biograd.credit.chain.blocks import Block
from biograd.rules.base import Nets, Rule
from biograd.rules.parts.chains import Inside, chain_for_a_rule


class Blockwise(Rule):
    """A rule that teaches block by block, in as many passes as it likes.

    A rule defines `assign_credit`, over the blocks that `chain` gives.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.
        inside: ``exact`` where hidden blocks may have several weight layers.

    Raises:
        UnsupportedNet: the net is no chain, or backpropagation would hide inside a block.
    """

    nets: ClassVar[Nets] = "chain"

    def __init__(self, net: nn.Module, *, inside: Inside = None) -> None:
        super().__init__()
        self._taught = chain_for_a_rule(net, inside)

    def chain(self, net: nn.Module, x: Tensor | None = None) -> list[Block]:
        """The blocks of a net; where a batch ``x`` is about to run through them, what they do with it is seen to.

        Raises:
            UnsupportedNet: it has other blocks than the net that the rule was made for, or one uses its weight several
                times and may not.
        """
        return self._taught.of(net, x)
