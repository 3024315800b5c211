"""The transposes of locally connected layers, with weights of their own: what inverses of such layers are made of."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from biograd.layers.local.geometry import Padding, Sizes
from biograd.layers.local.own_filters import OwnFilters
from biograd.layers.local.transpose_function import (
    locally_connected_transpose1d,
    locally_connected_transpose2d,
    locally_connected_transpose3d,
)


class LocallyConnectedTranspose(OwnFilters):
    """What `LocallyConnectedTranspose1d`, `LocallyConnectedTranspose2d` and `LocallyConnectedTranspose3d` are.

    Attributes:
        input_size: of the maps that go in.
        output_size: of those that come out.
    """

    size_argument = "output_size"
    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        output_size: Sizes,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        geometry = (kernel_size, output_size, stride, padding, dilation, groups)
        super().__init__(in_channels, out_channels, *geometry)
        self.input_size, self.output_size = self._positions, self._windowed
        filters = (*self.input_size, *self.kernel_size, out_channels // groups, in_channels)
        self._register(filters, (out_channels, *self.output_size) if bias else None, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(batch, in_channels, *input_size)`` to ``(batch, out_channels, *output_size)``."""
        self._check_input(input, self.input_size, "make it with the output_size of that input")
        return self.function(
            input,
            self.weight,
            self.bias,
            self.output_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


class LocallyConnectedTranspose1d(LocallyConnectedTranspose):
    """The vector-Jacobian product of a `LocallyConnected1d`, with weights of its own.

    See `LocallyConnectedTranspose2d`.

    Attributes:
        input_size: length of the input; the other layer's ``output_size``.
        weight: in the other layer's layout, ``(in_length, kernel_length, out_channels / groups, in_channels)``.
        bias: one per output unit, ``(out_channels, *output_size)``, or None.

    Example:
        >>> layer = LocallyConnectedTranspose1d(8, 3, kernel_size=5, output_size=32, stride=2, padding=2)
        >>> layer(torch.zeros(10, 8, 16)).shape
        torch.Size([10, 3, 32])
    """

    dimensions = 1
    function = staticmethod(locally_connected_transpose1d)


class LocallyConnectedTranspose2d(LocallyConnectedTranspose):
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

    dimensions = 2
    function = staticmethod(locally_connected_transpose2d)


class LocallyConnectedTranspose3d(LocallyConnectedTranspose):
    """The vector-Jacobian product of a `LocallyConnected3d`, with weights of its own.

    See `LocallyConnectedTranspose2d`.

    Attributes:
        input_size: depth, height and width of the input; the other layer's ``output_size``.
        weight: in the other layer's layout, ``(*input_size, *kernel_size, out_channels / groups, in_channels)``.
        bias: one per output unit, ``(out_channels, *output_size)``, or None.

    Example:
        >>> layer = LocallyConnectedTranspose3d(8, 3, kernel_size=3, output_size=(4, 8, 8), stride=2, padding=1)
        >>> layer(torch.zeros(10, 8, 2, 4, 4)).shape
        torch.Size([10, 3, 4, 8, 8])
    """

    dimensions = 3
    function = staticmethod(locally_connected_transpose3d)
