"""The locally connected product as a function, beside those of `torch.nn.functional`."""

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from biograd.errors import UserMistake
from biograd.layers.local.arguments import autocast, check_types
from biograd.layers.local.geometry import Geometry, Padding, Pair
from biograd.layers.local.memory import is_batch_last
from biograd.layers.local.products import input_gradient, product, weight_gradient


def locally_connected2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
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
    if has_torch_function((input, weight, bias)):
        return handle_torch_function(
            locally_connected2d,
            (input, weight, bias),
            input,
            weight,
            bias,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
    geometry = Geometry.of(weight, stride, padding, dilation, groups)
    _check_sizes(input, weight, bias, geometry)
    input, weight, bias = autocast(input, weight, bias)
    check_types("locally_connected2d", input, weight, bias)
    batch = input if input.dim() == 4 else input.unsqueeze(0)
    output = product(batch, weight, bias, geometry)
    return output if input.dim() == 4 else output.squeeze(0)


def locally_connected2d_backward(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, need_input: bool, need_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of `locally_connected2d` without bias, each through its own part alone.

    Args:
        grad: derivative of the loss by the output, ``(batch, out_channels, out_height, out_width)``.
        x: the input, ``(batch, in_channels, height, width)``; only the weight's gradient depends on it.
        weight: what errors travel back through; only the input's gradient depends on its values, so that
            feedback weights may be given here.
        geometry: as `Geometry.of` makes it.
        need_input: whether the first result is computed.
        need_weight: whether the second result is computed.

    Returns:
        The derivatives by input and weight, None where not needed; all without batch if ``x`` has none.
    """
    if x.dim() == 3:
        by_input, by_weight = locally_connected2d_backward(
            grad.unsqueeze(0), x.unsqueeze(0), weight, geometry, need_input, need_weight
        )
        return (None if by_input is None else by_input.squeeze(0)), by_weight
    size = (x.shape[2], x.shape[3])
    by_input = input_gradient(grad, weight.conj(), geometry, size, is_batch_last(x)) if need_input else None
    by_weight = weight_gradient(grad, x.conj(), geometry) if need_weight else None
    return by_input, by_weight


def _check_sizes(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> None:
    if input.dim() not in (3, 4):
        raise UserMistake(
            f"locally_connected2d: input must be (batch, channels, height, width) or (channels, height, "
            f"width), got {tuple(input.shape)}"
        )
    channels, *size = input.shape[-3:]
    positions = geometry.output_size((size[0], size[1]))
    if positions != tuple(weight.shape[:2]) or channels != weight.shape[4] * geometry.groups:
        raise UserMistake(
            f"locally_connected2d: input {tuple(input.shape)} with {geometry} gives output size "
            f"{positions}; weight {tuple(weight.shape)} is for output size {tuple(weight.shape[:2])} and "
            f"{weight.shape[4] * geometry.groups} input channels"
        )
    biases = (weight.shape[5], *positions)
    if bias is not None and tuple(bias.shape) != biases:
        raise UserMistake(f"locally_connected2d: bias must be {biases}, got {tuple(bias.shape)}")
