"""What a user says of the places of an example, tokens or positions, and of the axes beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch

from biograd.credit.chain.blocks import Block
from biograd.credit.chain.named_chain import NamedChain
from biograd.credit.chain.places import Axis, Laid, axis_of
from biograd.credit.chain.ways import Told
from biograd.errors import UserMistake
from biograd.settings import Meaning

Places = Annotated[
    Told | None,
    Meaning(
        "what a place of a block (a token, a position of a map) is told of: ``own``, what the output says at the same "
        "place, or, where it has no places, of its all by 1/√places, through one matrix for all places; ``all``, all "
        "that the output says, through weights of its own; unless given, ``own`` where features are last and ``all`` "
        "where they are first"
    ),
]
Features = Annotated[
    tuple[Literal["first", "last"], ...],
    Meaning(
        "which axis of an example holds the features of hidden blocks, ``last`` for (tokens, features) and ``first`` "
        "for (channels, positions): one word for all, or one a block; unless given, as their layers have it"
    ),
]
Classes = Annotated[
    Literal["first", "last", "absent"] | None,
    Meaning(
        "which axis of an example's output holds its classes, or other numbers a place; ``absent`` where each place "
        "has one number and no axis for it; unless given, as the last layer has it"
    ),
]
ClassAxis = Annotated[
    Literal["first", "last"] | None,
    Meaning(
        "which axis of an example's output holds its classes: ``first`` in (classes, tokens), ``last`` in (tokens, "
        "classes); unless given, as the last layer has it"
    ),
]


@dataclass(frozen=True)
class Layout:
    """What the user says of places and of the axes beside them.

    Attributes:
        places: see `Places`.
        features: see `Features`.
        classes: see `Classes`.
    """

    places: Told | None = None
    features: tuple[Literal["first", "last"], ...] = ()
    classes: Axis | None = None

    def of(self, chain: Sequence[Block], shapes: Sequence[torch.Size]) -> list[Laid]:
        """How what each block gives is laid out.

        Args:
            chain: the blocks.
            shapes: what they give for an example.

        Raises:
            UserMistake: axes were given for another number of blocks, or an axis for an output that is several tensors.
        """
        if self.classes is not None and isinstance(chain, NamedChain) and not chain.reading.is_one:
            raise UserMistake(
                f"classes={self.classes!r} says which axis of an output holds its classes, and the net gives several "
                "tensors, whose numbers are one vector to hidden blocks: leave it out"
            )
        *hidden, last = [
            Laid(f"the output of block {block.name!r}", s, axis_of(block, s))
            for block, s in zip(chain, shapes, strict=True)
        ]
        last = replace(last, axis=self.classes or last.axis, setting="classes")
        return [*self._stated(hidden), last]

    def _stated(self, hidden: list[Laid]) -> list[Laid]:
        if len(self.features) not in (0, 1, len(hidden)):
            raise UserMistake(
                f"features got {len(self.features)} axes, and the net has {len(hidden)} hidden blocks: "
                "give one for all, or one for each"
            )
        axes = self.features * len(hidden) if len(self.features) == 1 else self.features
        return [replace(laid, axis=axis) for laid, axis in zip(hidden, axes, strict=True)] if axes else hidden


def class_axis(last: Block, shape: torch.Size, stated: ClassAxis) -> Axis:
    """Which axis of an example's output holds its classes: as stated, as the last block has it, or else the first.

    Args:
        last: the last block.
        shape: of what it gives for an example.
        stated: what the user says.
    """
    return stated or axis_of(last, shape) or "first"
