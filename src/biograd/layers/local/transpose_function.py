"""The transpose of the locally connected product as a function, beside those of `torch.nn.functional`."""

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from biograd.errors import UserMistake
from biograd.layers.local.arguments import autocast, check_types
from biograd.layers.local.geometry import Geometry, Padding, Pair, pair
from biograd.layers.local.products import input_gradient, product, weight_gradient


def locally_connected_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    output_size: Pair,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
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
    if has_torch_function((input, weight, bias)):
        return handle_torch_function(
            locally_connected_transpose2d,
            (input, weight, bias),
            input,
            weight,
            bias,
            output_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
    size = pair(output_size)
    geometry = _checked_geometry(input, weight, bias, size, (stride, padding, dilation, groups))
    input, weight, bias = autocast(input, weight, bias)
    check_types("locally_connected_transpose2d", input, weight, bias)
    batch = input if input.dim() == 4 else input.unsqueeze(0)
    output = input_gradient(batch, weight, geometry, size)
    output = output if bias is None else output + bias
    return output if input.dim() == 4 else output.squeeze(0)


def locally_connected_transpose2d_backward(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, need_input: bool, need_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of `locally_connected_transpose2d` without bias, each through its own part alone.

    Args:
        grad: derivative of the loss by the output, ``(batch, out_channels, out_height, out_width)``.
        x: the input, ``(batch, in_channels, in_height, in_width)``; only the weight's gradient depends on it.
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


def _checked_geometry(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    size: tuple[int, int],
    arguments: tuple[Pair, Padding, Pair, int],
) -> Geometry:
    if input.dim() not in (3, 4) or weight.dim() != 6:
        raise UserMistake(
            "locally_connected_transpose2d: input must be (batch, channels, height, width) or (channels, height, "
            "width), and weight (in_height, in_width, kernel_height, kernel_width, out_channels / groups, "
            f"in_channels); got {tuple(input.shape)} and {tuple(weight.shape)}"
        )
    geometry = Geometry.of(weight, *arguments)
    positions = geometry.output_size(size)
    fitting = (weight.shape[5], *positions)
    if positions != tuple(weight.shape[:2]) or tuple(input.shape[-3:]) != fitting:
        raise UserMistake(
            f"locally_connected_transpose2d: output_size {size} with {geometry} and weight {tuple(weight.shape)} is "
            f"for inputs {fitting} and as many filters, got input {tuple(input.shape)}"
        )
    biases = (weight.shape[4] * geometry.groups, *size)
    if bias is not None and tuple(bias.shape) != biases:
        raise UserMistake(f"locally_connected_transpose2d: bias must be {biases}, got {tuple(bias.shape)}")
    return geometry
