"""Rules that run over a chain in a way of their own."""

from typing import ClassVar

from torch import nn

from biograd.credit.chain.blocks import Block
from biograd.credit.chain.lesson import Layout
from biograd.rules.base import Nets, Rule
from biograd.rules.parts.chains import chain_for_a_rule


class Blockwise(Rule):
    """A rule that teaches block by block, in as many passes as it likes.

    A rule defines `assign_credit`, over the blocks that `chain` gives.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.

    Raises:
        UnsupportedNet: the net is no chain.
    """

    nets: ClassVar[Nets] = "chain"

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._layout = Layout.of(chain_for_a_rule(net))

    def chain(self, net: nn.Module) -> list[Block]:
        """The blocks of a net.

        Raises:
            UnsupportedNet: it has other blocks than the net that the rule was made for.
        """
        return self._layout.chain_of(net)
