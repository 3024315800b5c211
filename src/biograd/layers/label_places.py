"""Places in the input for a label, for rules that show the net an example together with its class."""

import torch
from torch import Tensor, nn

from biograd.errors import UserMistake


class LabelPlaces(nn.Module):
    """Hold the first ``classes`` numbers of every example for a label; by itself, for a neutral one.

    A label is a distribution over the classes times the strength: one number is ``strength`` and the others 0 for a
    class, all are ``strength / classes`` for the neutral label (Hinton 2022). It has no parameters. `write` shows an
    example with another label.

    Args:
        classes: how many there are.
        strength: of a label, in units of the input.
        overwrite: whether labels take the place of the first numbers of the input (of the black border of an
            image, say), or stand before all of it, which needs flat examples.

    Raises:
        UserMistake: fewer than one class, or a batch that has no such places.

    Example:
        >>> places = LabelPlaces(2)
        >>> x = torch.tensor([[7.0, 8.0, 9.0]])
        >>> places(x)
        tensor([[0.5000, 0.5000, 7.0000, 8.0000, 9.0000]])
        >>> places.write(x, torch.tensor([[0.0, 1.0]]))
        tensor([[0., 1., 7., 8., 9.]])
        >>> LabelPlaces(2, overwrite=True)(x)
        tensor([[0.5000, 0.5000, 9.0000]])
    """

    def __init__(self, classes: int, *, strength: float = 1.0, overwrite: bool = False) -> None:
        super().__init__()
        if classes < 1:
            raise UserMistake(f"LabelPlaces: classes must be at least 1, got {classes}")
        self.classes, self.strength, self.overwrite = classes, strength, overwrite

    def forward(self, input: Tensor) -> Tensor:
        """The examples with the neutral label; see `write`."""
        return self.write(input, input.new_full((len(input), self.classes), 1 / self.classes))

    def write(self, input: Tensor, labels: Tensor) -> Tensor:
        """The examples with these labels.

        Args:
            input: ``(batch, features)``, or of any shape where labels overwrite.
            labels: distributions over the classes, ``(batch, classes)``.

        Returns:
            ``(batch, classes + features)``, or the shape of the input where labels overwrite.
        """
        labels = labels.to(input.dtype) * self.strength
        if self.overwrite:
            return self._written_over(input, labels)
        if input.dim() != 2:
            raise UserMistake(
                f"LabelPlaces({self.classes}) puts a label before flat examples (batch, features), got "
                f"{tuple(input.shape)}: put an nn.Flatten before it, or give overwrite=True"
            )
        return torch.cat([labels, input], 1)

    def _written_over(self, input: Tensor, labels: Tensor) -> Tensor:
        flat = input.flatten(1)
        if flat.shape[1] < self.classes:
            raise UserMistake(
                f"a label for {self.classes} classes does not fit into examples of {flat.shape[1]} numbers: let "
                "LabelPlaces put it before them (overwrite=False)"
            )
        return torch.cat([labels, flat[:, self.classes :]], 1).view(input.shape)

    def extra_repr(self) -> str:
        """Classes, strength and how."""
        return f"{self.classes}, strength={self.strength:g}, overwrite={self.overwrite}"
