"""Whether a net can take the inputs and outputs it is asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from biograd.errors import UserMistake, brief


def check_sizes(net: str, input_shape: Sequence[int], outputs: int) -> None:
    """Refuse sizes that are no numbers of at least one.

    Args:
        net: what the message calls the net.
        input_shape: shape of one example, without the batch.
        outputs: number of output units.

    Raises:
        UserMistake: they are not.
    """
    if isinstance(input_shape, Mapping):
        columns = ", ".join(f"{name} {_spell(shape)}" for name, shape in input_shape.items())
        raise UserMistake(
            f"{net} takes one tensor, and an example has the columns {columns}: take a net of your own, which is given "
            "them as a dict (path/to/file.py:Name)"
        )
    if not input_shape or not all(_is_size(size) for size in input_shape):
        raise UserMistake(
            f"{net}: input_shape must be the sizes of one example, whole numbers of at least 1, such as (784,) "
            f"or (3, 32, 32); got {_spell(input_shape)}"
        )
    if not _is_size(outputs):
        raise UserMistake(f"{net}: outputs must be a whole number of at least 1, got {brief(outputs)}")


def check_image(
    net: str, input_shape: Sequence[int], outputs: int, needed: Sequence[tuple[int, int, int]]
) -> None:
    """Refuse everything but images of the sizes that a net was made for.

    Args:
        net: what the message calls the net.
        input_shape: shape of one example, without the batch.
        outputs: number of output units.
        needed: the shapes it takes, (channels, height, width).

    Raises:
        UserMistake: another shape, or a number of outputs below 1.
    """
    check_sizes(net, input_shape, outputs)
    if tuple(input_shape) not in needed:
        choice = " or ".join(map(_spell, needed))
        raise UserMistake(f"{net} takes inputs {choice} (channels, height, width); got {_spell(input_shape)}")


def check_smallest_image(net: str, input_shape: Sequence[int], outputs: int, smallest: int) -> None:
    """Refuse what is no image, or one too small for a net's pooling and strides.

    Args:
        net: what the message calls the net.
        input_shape: shape of one example, without the batch.
        outputs: number of output units.
        smallest: the least height and width.

    Raises:
        UserMistake: no (channels, height, width), a side below the smallest, or a number of outputs below 1.
    """
    check_sizes(net, input_shape, outputs)
    if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
        raise UserMistake(
            f"{net} takes images (channels, height, width) of at least {smallest} × {smallest}; "
            f"got {_spell(input_shape)}"
        )


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _spell(shape: Sequence[int]) -> str:
    return str(tuple(shape))
