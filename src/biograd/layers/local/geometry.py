"""Which inputs each position of a locally connected layer sees."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from biograd.errors import UserMistake, brief

Sizes = int | tuple[int, ...]
"""One number for every dimension, or one for each."""

Padding = Sizes | Literal["same", "valid"]

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
"""What the dimensions of a map are called, by how many there are."""


class Geometry(NamedTuple):
    """Which input each filter of a locally connected layer sees; a number for each of one to three dimensions.

    Attributes:
        kernel: size of a filter, as (depth, height, width) or the last of these.
        stride: step from one position to the next.
        padding: zeros around the input, in the order of `torch.nn.functional.pad`: left, right, top, bottom, front,
            back.
        dilation: step between the inputs of one filter.
        groups: number of groups of channels that do not see each other.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @classmethod
    def of(
        cls, weight: Tensor, stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1, groups: int = 1
    ) -> "Geometry":
        """The geometry from the arguments of `locally_connected2d`, or of that over one or three dimensions.

        Raises:
            UserMistake: the weight is not one of these, or ``'same'`` meets a stride other than 1.
        """
        dimensions, is_odd = divmod(weight.dim() - 2, 2)
        if dimensions not in AXES or is_odd:
            raise UserMistake(
                "a locally connected weight has the size of the output, the size of the kernel and two numbers of "
                f"channels, 4, 6 or 8 axes; got {tuple(weight.shape)}"
            )
        kernel = tuple(weight.shape[dimensions : 2 * dimensions])
        return make_geometry(dimensions, kernel, stride, padding, dilation, groups)

    @property
    def dimensions(self) -> int:
        """How many there are: 1 to 3."""
        return len(self.kernel)

    def pack(self) -> list[int]:
        """All numbers in a row, as an operator takes them."""
        return [*self.kernel, *self.stride, *self.padding, *self.dilation, self.groups]

    @classmethod
    def unpack(cls, packed: Sequence[int]) -> "Geometry":
        """The inverse of `pack`."""
        n = len(packed) // 5
        kernel, stride, padding, dilation = (
            tuple(packed[start:end]) for start, end in ((0, n), (n, 2 * n), (2 * n, 4 * n), (4 * n, 5 * n))
        )
        return cls(kernel, stride, padding, dilation, packed[-1])

    def output_size(self, input_size: Sequence[int]) -> tuple[int, ...]:
        """How many positions there are along each dimension, as `torch.nn.Conv2d` computes it."""
        before, after = self.padding[-2::-2], self.padding[::-2]
        each = zip(input_size, before, after, self.span, self.stride, strict=True)
        return tuple((size + a + b - span) // stride + 1 for size, a, b, span, stride in each)

    @property
    def span(self) -> tuple[int, ...]:
        """How far a filter reaches along each dimension, from its first input to its last."""
        return tuple(step * (size - 1) + 1 for size, step in zip(self.kernel, self.dilation, strict=True))


def make_geometry(
    dimensions: int, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Geometry:
    """Spell out the arguments of `torch.nn.Conv1d`, ``Conv2d`` or ``Conv3d``, as a `Geometry`."""
    kernel, stride, dilation = (
        each(value, dimensions, name)
        for name, value in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation))
    )
    return Geometry(kernel, stride, _sides(padding, kernel, stride, dilation), dilation, groups)


def each(value: Sizes, dimensions: int, name: str) -> tuple[int, ...]:
    """A number for each dimension.

    Raises:
        UserMistake: as many numbers as there are dimensions were not given; ``name`` says of what.
    """
    numbers = (value,) * dimensions if isinstance(value, int) else tuple(value)
    if len(numbers) != dimensions:
        wanted = "one number" if dimensions == 1 else f"one number or {dimensions}"
        raise UserMistake(f"{name} must be {wanted}, got {brief(value)}")
    return tuple(int(number) for number in numbers)


def _sides(
    padding: Padding, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[int, ...]:
    """Zeros at both sides, the last dimension's first; an odd one of ``'same'`` goes behind, as in Conv2d."""
    n = len(kernel)
    if padding == "valid":
        return (0, 0) * n
    if padding == "same":
        if stride != (1,) * n:
            raise UserMistake(f"padding='same' needs stride 1, got {stride}; give the padding as numbers")
        around = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
        return tuple(side for zeros in reversed(around) for side in (zeros // 2, zeros - zeros // 2))
    if isinstance(padding, str):
        raise UserMistake(
            f"padding {brief(padding)} is unknown; give a number or one a dimension, 'same' or 'valid'"
        )
    zeros = each(padding, n, "padding")
    if min(zeros) < 0:
        raise UserMistake(f"padding must be at least 0, got {padding}")
    return tuple(side for number in reversed(zeros) for side in (number, number))
