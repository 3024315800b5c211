"""Which inputs each position of a locally connected layer sees."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from biograd.errors import UserMistake, brief

Pair = int | tuple[int, int]
Padding = Pair | Literal["same", "valid"]


class Geometry(NamedTuple):
    """Which input each filter of a locally connected layer sees; all pairs are (height, width).

    Attributes:
        kernel: size of a filter.
        stride: step from one position to the next.
        padding: zeros around the input, in the order of `torch.nn.functional.pad`: left, right, top, bottom.
        dilation: step between the inputs of one filter.
        groups: number of groups of channels that do not see each other.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int

    @classmethod
    def of(
        cls, weight: Tensor, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1, groups: int = 1
    ) -> "Geometry":
        """The geometry from the arguments of `locally_connected2d`.

        Raises:
            UserMistake: the weight is not six-dimensional, or ``'same'`` meets a stride other than 1.
        """
        if weight.dim() != 6:
            raise UserMistake(
                "locally_connected2d: weight must be (out_height, out_width, kernel_height, kernel_width, "
                f"in_channels / groups, out_channels), got {tuple(weight.shape)}"
            )
        kernel = (weight.shape[2], weight.shape[3])
        return make_geometry(kernel, stride, padding, dilation, groups)

    def pack(self) -> list[int]:
        """All numbers in a row, as an operator takes them."""
        return [*self.kernel, *self.stride, *self.padding, *self.dilation, self.groups]

    @classmethod
    def unpack(cls, packed: Sequence[int]) -> "Geometry":
        """The inverse of `pack`."""
        a, b, c, d, left, right, top, bottom, e, f, groups = packed
        return cls((a, b), (c, d), (left, right, top, bottom), (e, f), groups)

    def output_size(self, input_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the output, as `torch.nn.Conv2d` computes them."""
        left, right, top, bottom = self.padding
        padded = (input_size[0] + top + bottom, input_size[1] + left + right)
        height, width = (
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, dilation in zip(
                padded, self.kernel, self.stride, self.dilation, strict=True
            )
        )
        return height, width


def make_geometry(kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int) -> Geometry:
    """Spell out the arguments of `torch.nn.Conv2d`, as a `Geometry`."""
    kernel, stride, dilation = pair(kernel), pair(stride), pair(dilation)
    return Geometry(kernel, stride, _four_sides(padding, kernel, stride, dilation), dilation, groups)


def pair(value: Pair) -> tuple[int, int]:
    """One number for both directions, or (height, width)."""
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


def _four_sides(
    padding: Padding, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Zeros at left, right, top and bottom; an odd one of ``'same'`` goes right and bottom, as in Conv2d."""
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        if stride != (1, 1):
            raise UserMistake(f"padding='same' needs stride 1, got {stride}; give the padding as numbers")
        height, width = (step * (size - 1) for size, step in zip(kernel, dilation, strict=True))
        return width // 2, width - width // 2, height // 2, height - height // 2
    if isinstance(padding, str):
        raise UserMistake(f"padding {brief(padding)} is unknown; give one or two numbers, 'same' or 'valid'")
    height, width = pair(padding)
    if min(height, width) < 0:
        raise UserMistake(f"padding must be at least 0, got {padding}")
    return width, width, height, height
