"""The locally connected product over one to three dimensions as functions, beside those of `torch.nn.functional`."""

from collections.abc import Callable

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from biograd.errors import UserMistake
from biograd.layers.local.arguments import autocast, check_bias, check_dimensions, check_types, check_weight
from biograd.layers.local.geometry import Geometry, Padding, Sizes
from biograd.layers.local.memory import is_batch_last
from biograd.layers.local.products import input_gradient, product, weight_gradient


def locally_connected1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """`locally_connected2d` over one dimension: ``y[:, i] = conv(input around i, weight[i]) + bias[:, i]``.

    Args:
        input: ``(batch, in_channels, length)`` or ``(in_channels, length)``.
        weight: ``(out_length, kernel_length, in_channels / groups, out_channels)``.
        bias: ``(out_channels, out_length)`` or None.
        stride: as in `torch.nn.functional.conv1d`, like the next three.
        padding: see `locally_connected2d`.
        dilation: see there.
        groups: see there.

    Returns:
        ``(batch, out_channels, out_length)``, without the batch if the input has none.

    Raises:
        UserMistake: the sizes of input, weight and bias do not fit together.
    """
    geometry = (stride, padding, dilation, groups)
    return _locally_connected(locally_connected1d, 1, (input, weight, bias), *geometry)


def locally_connected2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """``y[:, i, j] = conv(input around (i, j), weight[i, j]) + bias[:, i, j]``.

    Torch-function modes and subclasses see this function as they see those of `torch.nn.functional`; it
    follows autocast, `torch.func` transforms and repeated differentiation.

    Args:
        input: ``(batch, in_channels, height, width)`` or ``(in_channels, height, width)``.
        weight: ``(out_height, out_width, kernel_height, kernel_width, in_channels / groups, out_channels)``.
        bias: ``(out_channels, out_height, out_width)`` or None.
        stride: as in `torch.nn.functional.conv2d`, like the next three.
        padding: zeros added around the input, or ``'same'`` or ``'valid'``.
        dilation: step between the inputs of one filter.
        groups: number of groups of channels.

    Returns:
        ``(batch, out_channels, out_height, out_width)``, without the batch if the input has none.

    Raises:
        UserMistake: the sizes of input, weight and bias do not fit together.
    """
    geometry = (stride, padding, dilation, groups)
    return _locally_connected(locally_connected2d, 2, (input, weight, bias), *geometry)


def locally_connected3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """`locally_connected2d` over three dimensions.

    Args:
        input: ``(batch, in_channels, depth, height, width)`` or without the batch.
        weight: ``(out_depth, out_height, out_width, kernel_depth, kernel_height, kernel_width, in_channels / groups,
            out_channels)``.
        bias: ``(out_channels, out_depth, out_height, out_width)`` or None.
        stride: as in `torch.nn.functional.conv3d`, like the next three.
        padding: see `locally_connected2d`.
        dilation: see there.
        groups: see there.

    Returns:
        ``(batch, out_channels, out_depth, out_height, out_width)``, without the batch if the input has none.

    Raises:
        UserMistake: the sizes of input, weight and bias do not fit together.
    """
    geometry = (stride, padding, dilation, groups)
    return _locally_connected(locally_connected3d, 3, (input, weight, bias), *geometry)


def locally_connected_backward(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, need_input: bool, need_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of `locally_connected2d`, or of that over one or three dimensions, without bias.

    Each comes through its own part alone.

    Args:
        grad: derivative of the loss by the output, ``(batch, out_channels, *out_size)``.
        x: the input, ``(batch, in_channels, *size)``; only the weight's gradient depends on it.
        weight: what errors travel back through; only the input's gradient depends on its values, so that
            feedback weights may be given here.
        geometry: as `Geometry.of` makes it.
        need_input: whether the first result is computed.
        need_weight: whether the second result is computed.

    Returns:
        The derivatives by input and weight, None where not needed; all without batch if ``x`` has none.
    """
    if x.dim() == geometry.dimensions + 1:
        by_input, by_weight = locally_connected_backward(
            grad.unsqueeze(0), x.unsqueeze(0), weight, geometry, need_input, need_weight
        )
        return (None if by_input is None else by_input.squeeze(0)), by_weight
    size = tuple(x.shape[2:])
    by_input = input_gradient(grad, weight.conj(), geometry, size, is_batch_last(x)) if need_input else None
    by_weight = weight_gradient(grad, x.conj(), geometry) if need_weight else None
    return by_input, by_weight


def _locally_connected(
    function: Callable[..., Tensor],
    dimensions: int,
    tensors: tuple[Tensor, Tensor, Tensor | None],
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    """What ``function`` gives, which modes and subclasses see."""
    if has_torch_function(tensors):
        return handle_torch_function(
            function, tensors, *tensors, stride=stride, padding=padding, dilation=dilation, groups=groups
        )
    input, weight, bias = tensors
    check_weight(function, dimensions, weight, "out", "in_channels / groups, out_channels")
    geometry = Geometry.of(weight, stride, padding, dilation, groups)
    _check_sizes(function, input, weight, bias, geometry)
    input, weight, bias = autocast(input, weight, bias)
    check_types(function, input, weight, bias)
    batch = input if input.dim() == dimensions + 2 else input.unsqueeze(0)
    output = product(batch, weight, bias, geometry)
    return output if batch is input else output.squeeze(0)


def _check_sizes(
    function: Callable[..., Tensor], input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> None:
    n = geometry.dimensions
    check_dimensions(function, n, input)
    channels, *size = input.shape[-n - 1 :]
    positions = geometry.output_size(size)
    if positions != tuple(weight.shape[:n]) or channels != weight.shape[-2] * geometry.groups:
        raise UserMistake(
            f"{function.__name__}: input {tuple(input.shape)} with {geometry} gives output size "
            f"{positions}; weight {tuple(weight.shape)} is for output size {tuple(weight.shape[:n])} and "
            f"{weight.shape[-2] * geometry.groups} input channels"
        )
    check_bias(function, bias, (weight.shape[-1], *positions))
