"""What a sequence of tokens is given before attention reads it: a place for each, and one token more for the class."""

import torch
from torch import Tensor, nn

from biograd.errors import UserMistake


class Positions(nn.Module):
    """Add a learned vector to each token, by its place; sequences may be shorter than the longest.

    Args:
        length: of the longest sequence.
        width: units of a token.

    Attributes:
        offsets: the vectors, ``(length, width)``, which start normal with deviation 0.02. They are added to activations
            and no error travels through them: rules that look for weight matrices leave them alone.

    Example:
        >>> Positions(16, 8)(torch.zeros(2, 9, 8)).shape
        torch.Size([2, 9, 8])
    """

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.offsets = nn.Parameter(torch.empty(length, width))
        nn.init.normal_(self.offsets, std=0.02)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(batch, tokens, width)`` to the same shape.

        Raises:
            UserMistake: a sequence longer than the longest.
        """
        if input.shape[1] > len(self.offsets):
            raise UserMistake(
                f"got a sequence of {input.shape[1]} tokens, and the net has places for {len(self.offsets)}: make it "
                "for longer ones, or cut the sequence"
            )
        return input + self.offsets[: input.shape[1]]

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.offsets.shape[0]}, {self.offsets.shape[1]}"


class ClassToken(nn.Module):
    """Put a learned token before the others, for a classifier to read.

    Args:
        width: units of a token.

    Attributes:
        token: ``(width,)``, which starts normal with deviation 0.02.

    Example:
        >>> ClassToken(8)(torch.zeros(2, 9, 8)).shape
        torch.Size([2, 10, 8])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(width))
        nn.init.normal_(self.token, std=0.02)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(batch, tokens, width)`` to ``(batch, 1 + tokens, width)``."""
        return torch.cat([self.token.expand(len(input), 1, -1), input], 1)

    def extra_repr(self) -> str:
        """The width."""
        return f"{len(self.token)}"
