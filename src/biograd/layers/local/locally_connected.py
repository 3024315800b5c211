"""The locally connected layers: convolutions with a filter of their own at every output position."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from biograd.layers.local.function import locally_connected1d, locally_connected2d, locally_connected3d
from biograd.layers.local.geometry import Padding, Sizes
from biograd.layers.local.own_filters import OwnFilters, PaddingMode


class LocallyConnected(OwnFilters):
    """What `LocallyConnected1d`, `LocallyConnected2d` and `LocallyConnected3d` are.

    Attributes:
        input_size: of the maps that go in.
        output_size: of those that come out.
    """

    size_argument = "input_size"
    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        input_size: Sizes,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        geometry = (kernel_size, input_size, stride, padding, dilation, groups)
        super().__init__(in_channels, out_channels, *geometry, padding_mode)
        self.input_size, self.output_size = self._windowed, self._positions
        filters = (*self.output_size, *self.kernel_size, in_channels // groups, out_channels)
        self._register(filters, (out_channels, *self.output_size) if bias else None, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(batch, in_channels, *input_size)`` to ``(batch, out_channels, *output_size)``."""
        self._check_input(input, self.input_size, "make it with the input_size it will meet")
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._geometry.padding, mode=self.padding_mode), 0
        return self.function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class LocallyConnected1d(LocallyConnected):
    """`torch.nn.Conv1d` with a filter and a bias of its own at every output position; see `LocallyConnected2d`.

    Attributes:
        weight: ``(out_length, kernel_length, in_channels / groups, out_channels)``; ``weight[i].permute(2, 1, 0)`` is
            the weight of the convolution at position i.
        bias: ``(out_channels, out_length)`` or None.

    Example:
        >>> layer = LocallyConnected1d(3, 8, kernel_size=5, input_size=32, stride=2, padding=2)
        >>> layer(torch.zeros(10, 3, 32)).shape
        torch.Size([10, 8, 16])
        >>> layer.weight.shape
        torch.Size([16, 5, 3, 8])
    """

    dimensions = 1
    function = staticmethod(locally_connected1d)


class LocallyConnected2d(LocallyConnected):
    """`torch.nn.Conv2d` with a filter and a bias of its own at every output position.

    Arguments are those of `torch.nn.Conv2d`, with the same meaning and defaults, and ``input_size``: the
    number of positions, and so the parameters, depends on it.

    Attributes:
        weight: ``(out_height, out_width, kernel_height, kernel_width, in_channels / groups, out_channels)``;
            ``weight[i, j].permute(3, 2, 0, 1)`` is the weight of the convolution at position (i, j).
        bias: ``(out_channels, out_height, out_width)`` or None.

    Weight and bias start as in `torch.nn.Conv2d`: uniform within ``1 / sqrt(fan_in)``, where the fan-in of a
    position is ``in_channels / groups · kernel_height · kernel_width``.

    The output's memory has the batch last, so that a chain of such layers copies nothing: ``flatten`` and
    ``reshape`` take it, ``view`` may not. ``torch.compile`` takes the layer as one step, without fusing into it; so
    does ``torch.export``, whose programs can be trained.

    Raises:
        UserMistake: sizes that do not fit together, at construction or when the input is of another size.

    Example:
        >>> layer = LocallyConnected2d(3, 8, kernel_size=5, input_size=(32, 32), stride=2, padding=2)
        >>> layer(torch.zeros(10, 3, 32, 32)).shape
        torch.Size([10, 8, 16, 16])
        >>> layer.weight.shape
        torch.Size([16, 16, 5, 5, 3, 8])
    """

    dimensions = 2
    function = staticmethod(locally_connected2d)


class LocallyConnected3d(LocallyConnected):
    """`torch.nn.Conv3d` with a filter and a bias of its own at every output position; see `LocallyConnected2d`.

    Attributes:
        weight: ``(*output_size, *kernel_size, in_channels / groups, out_channels)``, sizes as (depth, height, width);
            ``weight[i, j, k].permute(4, 3, 0, 1, 2)`` is the weight of the convolution at position (i, j, k).
        bias: ``(out_channels, *output_size)`` or None.

    Example:
        >>> layer = LocallyConnected3d(3, 8, kernel_size=3, input_size=(4, 8, 8), stride=(1, 2, 2), padding=1)
        >>> layer(torch.zeros(10, 3, 4, 8, 8)).shape
        torch.Size([10, 8, 4, 4, 4])
        >>> layer.weight.shape
        torch.Size([4, 4, 4, 3, 3, 3, 3, 8])
    """

    dimensions = 3
    function = staticmethod(locally_connected3d)
