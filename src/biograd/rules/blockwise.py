"""Rules for chains of blocks, which know the chain they were made for."""

from torch import Tensor, nn

from biograd.credit.chain.blocks import Block, blocks
from biograd.errors import UnsupportedNet
from biograd.rules.base import Rule


class Blockwise(Rule):
    """A rule that teaches block by block.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.
        sample: one input, for rules that need the shapes of the blocks' outputs.

    Raises:
        UnsupportedNet: the net is no chain.
    """

    def __init__(self, net: nn.Module, sample: Tensor | None = None) -> None:
        super().__init__()
        self._layout = _layout(blocks(net))

    def chain(self, net: nn.Module) -> list[Block]:
        """The blocks of a net.

        Raises:
            UnsupportedNet: it has other blocks than the net that the rule was made for.
        """
        chain = blocks(net)
        layout = _layout(chain)
        if layout != self._layout:
            raise UnsupportedNet(
                f"the rule was made for another net, with the blocks {_spell(self._layout)}; this one has "
                f"{_spell(layout)}; make the rule for the net it teaches"
            )
        return chain


def _layout(chain: list[Block]) -> list[tuple[str, list[tuple[int, ...]]]]:
    return [(block.name, [tuple(p.shape) for p in block.parameters()]) for block in chain]


def _spell(layout: list[tuple[str, list[tuple[int, ...]]]]) -> str:
    return ", ".join(f"{name} {shapes[0] if shapes else ()}" for name, shapes in layout)
