"""What locally connected layers and functions, plain and transposed, check and cast before they compute."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from biograd.errors import UserMistake
from biograd.layers.local.geometry import AXES


def check_layer(
    kind: str, in_channels: int, out_channels: int, groups: int, sizes: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse sizes of a layer that are below 1, and groups that do not divide its channels.

    Args:
        kind: what the message calls the layer.
        in_channels: of its input.
        out_channels: of its output.
        groups: of channels.
        sizes: kernel, size, stride and dilation by name.

    Raises:
        UserMistake: with all arguments that were given.
    """
    counts = {"in_channels": in_channels, "out_channels": out_channels, "groups": groups}
    given = ", ".join(f"{name}={value}" for name, value in {**counts, **sizes}.items())
    if min(*counts.values(), *(side for value in sizes.values() for side in value)) < 1:
        raise UserMistake(f"{kind}: every size, stride and dilation must be at least 1, got {given}")
    if in_channels % groups or out_channels % groups:
        raise UserMistake(f"{kind}: groups must divide in_channels and out_channels, got {given}")


def axes(dimensions: int, prefix: str = "") -> str:
    """What the dimensions of a map are called, in a row: ``height, width``."""
    return ", ".join(f"{prefix}{name}" for name in AXES[dimensions])


def check_weight(
    function: Callable[..., Tensor], dimensions: int, weight: Tensor, side: str, channels: str
) -> None:
    """Refuse a weight that has not the axes of filters by position.

    Args:
        function: that is called.
        dimensions: of its maps.
        weight: as given.
        side: which map counts the positions, ``out`` or ``in``.
        channels: what the last two axes are called.

    Raises:
        UserMistake: with the axes that it should have.
    """
    if weight.dim() != 2 * dimensions + 2:
        positions, kernel = axes(dimensions, f"{side}_"), axes(dimensions, "kernel_")
        raise UserMistake(
            f"{function.__name__}: weight must be ({positions}, {kernel}, {channels}), got {tuple(weight.shape)}"
        )


def check_dimensions(function: Callable[..., Tensor], dimensions: int, input: Tensor) -> None:
    """Refuse an input that is neither one map nor a batch of maps.

    Raises:
        UserMistake: with the axes that it should have.
    """
    if input.dim() not in (dimensions + 1, dimensions + 2):
        size = axes(dimensions)
        raise UserMistake(
            f"{function.__name__}: input must be (batch, channels, {size}) or (channels, {size}), got "
            f"{tuple(input.shape)}"
        )


def check_bias(function: Callable[..., Tensor], bias: Tensor | None, shape: tuple[int, ...]) -> None:
    """Refuse a bias of another shape than the output's.

    Raises:
        UserMistake: with both shapes.
    """
    if bias is not None and tuple(bias.shape) != shape:
        raise UserMistake(f"{function.__name__}: bias must be {shape}, got {tuple(bias.shape)}")


def check_types(function: Callable[..., Tensor], input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Refuse a weight or bias of another dtype or on another device than the input.

    Raises:
        UserMistake: with what each is.
    """
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and (tensor.dtype, tensor.device) != (input.dtype, input.device):
            raise UserMistake(
                f"{function.__name__}: input is {input.dtype} on {input.device}, {name} is {tensor.dtype} on "
                f"{tensor.device}; move one to the other"
            )


def autocast(input: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast as autocast does for convolutions: every floating type but float64."""
    device = input.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return input, weight, bias  # the meta device has no autocast to ask about
    low = torch.get_autocast_dtype(device)
    return _lower(input, low), _lower(weight, low), None if bias is None else _lower(bias, low)


def _lower(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    is_cast = tensor.is_floating_point() and tensor.dtype != torch.float64
    return tensor.to(dtype) if is_cast else tensor
