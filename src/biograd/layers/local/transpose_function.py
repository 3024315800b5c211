"""The transposes of the locally connected products as functions, beside those of `torch.nn.functional`."""

from collections.abc import Callable

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from biograd.errors import UserMistake
from biograd.layers.local.arguments import autocast, check_bias, check_dimensions, check_types, check_weight
from biograd.layers.local.geometry import Geometry, Padding, Sizes, each
from biograd.layers.local.products import input_gradient, product, weight_gradient


def locally_connected_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    output_size: Sizes,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """``y = Lᵀ input + bias``, where ``L`` is `locally_connected1d` with this weight.

    Args:
        input: ``(batch, in_channels, in_length)`` or without the batch.
        weight: that of ``L``, ``(in_length, kernel_length, out_channels / groups, in_channels)``.
        bias: ``(out_channels, output_size)`` or None.
        output_size: length of the output.
        stride: that of ``L``, like the next three.
        padding: see `locally_connected_transpose2d`.
        dilation: see there.
        groups: see there.

    Returns:
        ``(batch, out_channels, output_size)``, without the batch if the input has none.

    Raises:
        UserMistake: the sizes of input, weight, bias and output do not fit together.
    """
    geometry = (output_size, stride, padding, dilation, groups)
    return _transposed(locally_connected_transpose1d, 1, (input, weight, bias), *geometry)


def locally_connected_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    output_size: Sizes,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """``y = Lᵀ input + bias``, where ``L`` is `locally_connected2d` with this weight.

    ``L`` maps from ``output_size`` to the input's size, so this maps from there to ``output_size``. Every input
    position spreads over the window that ``L`` sees from there, through a filter of its own; where windows overlap,
    what arrives is added. With the same filter everywhere it is `torch.nn.functional.conv_transpose2d`.
    Torch-function modes and subclasses see this function as they see those of `torch.nn.functional`; it follows
    autocast, `torch.func` transforms and repeated differentiation.

    Args:
        input: ``(batch, in_channels, in_height, in_width)`` or without the batch.
        weight: that of ``L``, ``(in_height, in_width, kernel_height, kernel_width, out_channels / groups,
            in_channels)``.
        bias: ``(out_channels, *output_size)`` or None.
        output_size: height and width of the output.
        stride: that of ``L``, like the next three.
        padding: zeros around the output that are thrown away, or ``'same'`` or ``'valid'``.
        dilation: step between the outputs of one filter.
        groups: number of groups of channels.

    Returns:
        ``(batch, out_channels, *output_size)``, without the batch if the input has none.

    Raises:
        UserMistake: the sizes of input, weight, bias and output do not fit together.
    """
    geometry = (output_size, stride, padding, dilation, groups)
    return _transposed(locally_connected_transpose2d, 2, (input, weight, bias), *geometry)


def locally_connected_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    output_size: Sizes,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """``y = Lᵀ input + bias``, where ``L`` is `locally_connected3d` with this weight.

    Args:
        input: ``(batch, in_channels, in_depth, in_height, in_width)`` or without the batch.
        weight: that of ``L``, ``(in_depth, in_height, in_width, kernel_depth, kernel_height, kernel_width,
            out_channels / groups, in_channels)``.
        bias: ``(out_channels, *output_size)`` or None.
        output_size: depth, height and width of the output.
        stride: that of ``L``, like the next three.
        padding: see `locally_connected_transpose2d`.
        dilation: see there.
        groups: see there.

    Returns:
        ``(batch, out_channels, *output_size)``, without the batch if the input has none.

    Raises:
        UserMistake: the sizes of input, weight, bias and output do not fit together.
    """
    geometry = (output_size, stride, padding, dilation, groups)
    return _transposed(locally_connected_transpose3d, 3, (input, weight, bias), *geometry)


def locally_connected_transpose_backward(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, need_input: bool, need_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of `locally_connected_transpose2d`, or of that over one or three dimensions, without bias.

    Each comes through its own part alone.

    Args:
        grad: derivative of the loss by the output, ``(batch, out_channels, *output_size)``.
        x: the input, ``(batch, in_channels, *in_size)``; only the weight's gradient depends on it.
        weight: what errors travel back through; only the input's gradient depends on its values, so that
            feedback weights may be given here.
        geometry: as `Geometry.of` makes it.
        need_input: whether the first result is computed.
        need_weight: whether the second result is computed.

    Returns:
        The derivatives by input and weight, None where not needed.
    """
    by_input = product(grad, weight.conj(), None, geometry) if need_input else None
    by_weight = weight_gradient(x.conj(), grad, geometry) if need_weight else None
    return by_input, by_weight


def _transposed(
    function: Callable[..., Tensor],
    dimensions: int,
    tensors: tuple[Tensor, Tensor, Tensor | None],
    output_size: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    """What ``function`` gives, which modes and subclasses see."""
    if has_torch_function(tensors):
        geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return handle_torch_function(function, tensors, *tensors, output_size, **geometry)
    input, weight, bias = tensors
    check_weight(function, dimensions, weight, "in", "out_channels / groups, in_channels")
    geometry = Geometry.of(weight, stride, padding, dilation, groups)
    size = each(output_size, dimensions, "output_size")
    _check_sizes(function, input, weight, bias, size, geometry)
    input, weight, bias = autocast(input, weight, bias)
    check_types(function, input, weight, bias)
    batch = input if input.dim() == dimensions + 2 else input.unsqueeze(0)
    output = input_gradient(batch, weight, geometry, size)
    output = output if bias is None else output + bias
    return output if batch is input else output.squeeze(0)


def _check_sizes(
    function: Callable[..., Tensor],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    size: tuple[int, ...],
    geometry: Geometry,
) -> None:
    n = geometry.dimensions
    check_dimensions(function, n, input)
    positions = geometry.output_size(size)
    fitting = (weight.shape[-1], *positions)
    if positions != tuple(weight.shape[:n]) or tuple(input.shape[-n - 1 :]) != fitting:
        raise UserMistake(
            f"{function.__name__}: output_size {size} with {geometry} and weight {tuple(weight.shape)} is for inputs "
            f"{fitting} and as many filters, got input {tuple(input.shape)}"
        )
    check_bias(function, bias, (weight.shape[-2] * geometry.groups, *size))
