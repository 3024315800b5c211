"""The chain that a rule was made for, each block with one weight layer unless the user said otherwise."""

from dataclasses import dataclass

from torch import Tensor, nn

from biograd.credit.chain.blocks import Block, blocks
from biograd.credit.chain.insides import learns, refuse_hidden_backpropagation, refuse_repeated_use
from biograd.errors import UnsupportedNet, UserMistake


@dataclass(frozen=True)
class Layout:
    """The blocks that a rule was made for: names and shapes alone, so that it holds nothing of a net."""

    blocks: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]

    @classmethod
    def of(cls, chain: list[Block]) -> "Layout":
        """That of a chain."""
        return cls(tuple((block.name, tuple(tuple(p.shape) for p in block.parameters())) for block in chain))

    def __str__(self) -> str:
        return ", ".join(f"{name} {shapes[0] if shapes else ()}" for name, shapes in self.blocks)


class TaughtChain:
    """Gives a net's blocks, as they were when the rule was made.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.
        exact_inside: whether hidden blocks may have several weight layers, between which errors pass exactly.

    Raises:
        UnsupportedNet: the net is no chain, or backpropagation would hide inside a block.
    """

    def __init__(self, net: nn.Module, *, exact_inside: bool) -> None:
        self._exact_inside, self._has_looked = exact_inside, False
        chain = blocks(net)
        refuse_hidden_backpropagation(chain, exact_inside=exact_inside)
        self._layout = Layout.of(chain)
        self._frozen = [place for place, block in enumerate(chain) if not learns(block)]

    def of(self, net: nn.Module, x: Tensor | None = None) -> list[Block]:
        """The blocks of a net.

        Args:
            net: like the one that the rule was made for.
            x: a batch that is about to run through it; at the first one it is seen whether a block uses its weight
                several times.

        Raises:
            UnsupportedNet: it has other blocks, or a block does.
            UserMistake: the batch has no examples, whose mean is no number.
        """
        if x is not None and not len(x):
            raise UserMistake(
                f"the batch has no examples, {tuple(x.shape)}, and a rule for chains needs one at least: leave it out"
            )
        chain = blocks(net)
        here = Layout.of(chain)
        if here != self._layout:
            refuse_hidden_backpropagation(chain, exact_inside=self._exact_inside)
            raise UnsupportedNet(
                f"the rule was made for another net, with the blocks {self._layout}; this one has {here}; make the "
                "rule for the net it teaches"
            )
        if any(learns(chain[place]) for place in self._frozen):
            refuse_hidden_backpropagation(chain, exact_inside=self._exact_inside)
            self._frozen, self._has_looked = [], False
        if x is not None and not self._has_looked:
            refuse_repeated_use(chain, x, exact_inside=self._exact_inside)
            self._has_looked = True
        return chain
