"""The transpose of a locally connected layer, with weights of its own: what such a layer's inverse is made of."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from biograd.errors import UserMistake
from biograd.layers.local.arguments import check_layer
from biograd.layers.local.geometry import Padding, Pair, make_geometry, pair
from biograd.layers.local.transpose_function import locally_connected_transpose2d


class LocallyConnectedTranspose2d(nn.Module):
    r"""The vector-Jacobian product of a `LocallyConnected2d` of the same geometry, with weights of its own.

    It stands to `LocallyConnected2d` as `torch.nn.ConvTranspose2d` stands to `torch.nn.Conv2d`: for the layer
    ``LocallyConnected2d(a, b, kernel_size, input_size, …)`` its transpose is ``LocallyConnectedTranspose2d(b, a,
    kernel_size, output_size=input_size, …)``, which maps that layer's outputs back to the size of its inputs, and

    .. math:: y = L_w^\top x + b, \qquad \langle L_w u, x \rangle = \langle u, L_w^\top x \rangle

    where :math:`L_w` is that layer without bias, with this layer's weight.

    Args:
        in_channels: channels of the input; the other layer's outputs.
        out_channels: channels of the output; the other layer's inputs.
        kernel_size: of the other layer, like stride, padding, dilation and groups.
        output_size: height and width of the output; the other layer's ``input_size``.
        stride: step from one window to the next.
        padding: as many rows and columns around the output are thrown away, or ``'same'`` or ``'valid'``.
        dilation: step between the outputs of one filter.
        groups: number of groups of channels.
        bias: whether there is one.
        device: of the parameters.
        dtype: of the parameters.

    Attributes:
        input_size: height and width of the input; the other layer's ``output_size``.
        weight: in the other layer's layout, ``(in_height, in_width, kernel_height, kernel_width,
            out_channels / groups, in_channels)``: one filter per *input* position.
        bias: one per output unit, ``(out_channels, *output_size)``, or None.

    Weight and bias start as in `torch.nn.ConvTranspose2d`: uniform within ``1 / sqrt(out_channels / groups ·
    kernel_height · kernel_width)``.

    The output's memory has the batch last, as `LocallyConnected2d` gives and takes it.

    Raises:
        UserMistake: sizes that do not fit together, at construction or when the input is of another size.

    Example:
        >>> layer = LocallyConnectedTranspose2d(8, 3, kernel_size=5, output_size=(32, 32), stride=2, padding=2)
        >>> layer(torch.zeros(10, 8, 16, 16)).shape
        torch.Size([10, 3, 32, 32])
        >>> layer.weight.shape
        torch.Size([16, 16, 5, 5, 3, 8])
    """

    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        output_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.output_size = pair(kernel_size), pair(output_size)
        self.stride, self.dilation, self.groups = pair(stride), pair(dilation), groups
        self.padding: Padding = padding if isinstance(padding, str) else pair(padding)
        self._check_arguments()
        geometry = make_geometry(kernel_size, stride, padding, dilation, groups)
        self.input_size = geometry.output_size(self.output_size)
        self._check_input()
        filters = (*self.input_size, *self.kernel_size, out_channels // groups, in_channels)
        self.weight = nn.Parameter(torch.empty(filters, device=device, dtype=dtype))
        biases = torch.empty(out_channels, *self.output_size, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", None if biases is None else nn.Parameter(biases))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform within ``1 / sqrt(out_channels / groups · kernel size)``."""
        bound = 1 / math.sqrt(math.prod(self.weight.shape[2:5]))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(batch, in_channels, *input_size)`` to ``(batch, out_channels, *output_size)``."""
        expected = (self.in_channels, *self.input_size)
        if input.dim() not in (3, 4) or tuple(input.shape[-3:]) != expected:
            raise UserMistake(
                f"LocallyConnectedTranspose2d made for inputs {expected} (channels, height, width), with or without "
                f"a batch before them, got {tuple(input.shape)}; make it with the output_size of that input"
            )
        return locally_connected_transpose2d(
            input,
            self.weight,
            self.bias,
            self.output_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    def extra_repr(self) -> str:
        """The arguments, those at their default left out."""
        shown = {
            "padding": self.padding if self.padding not in ((0, 0), "valid") else None,
            "dilation": self.dilation if self.dilation != (1, 1) else None,
            "groups": self.groups if self.groups != 1 else None,
            "bias": False if self.bias is None else None,
        }
        rest = "".join(f", {name}={value!r}" for name, value in shown.items() if value is not None)
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"output_size={self.output_size}, stride={self.stride}{rest}"
        )

    def _check_arguments(self) -> None:
        pairs = {"kernel_size": self.kernel_size, "output_size": self.output_size}
        pairs |= {"stride": self.stride, "dilation": self.dilation}
        check_layer("LocallyConnectedTranspose2d", self.in_channels, self.out_channels, self.groups, pairs)

    def _check_input(self) -> None:
        if min(self.input_size) < 1:
            raise UserMistake(
                f"LocallyConnectedTranspose2d: kernel_size {self.kernel_size} with dilation {self.dilation} does "
                f"not fit into output_size {self.output_size} with padding {self.padding}"
            )
