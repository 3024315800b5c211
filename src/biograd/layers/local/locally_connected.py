"""The locally connected layer: a convolution with a filter of its own at every output position."""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biograd.errors import UserMistake, brief
from biograd.layers.local.arguments import check_layer
from biograd.layers.local.function import locally_connected2d
from biograd.layers.local.geometry import Padding, Pair, make_geometry, pair
from biograd.layers.weight_layout import BY_POSITION

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class LocallyConnected2d(nn.Module):
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
    does ``torch.export``, whose programs compute with it and do not train it.

    Raises:
        UserMistake: sizes that do not fit together, at construction or when the input is of another size.

    Example:
        >>> layer = LocallyConnected2d(3, 8, kernel_size=5, input_size=(32, 32), stride=2, padding=2)
        >>> layer(torch.zeros(10, 3, 32, 32)).shape
        torch.Size([10, 8, 16, 16])
        >>> layer.weight.shape
        torch.Size([16, 16, 5, 5, 3, 8])
    """

    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        input_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.input_size = pair(kernel_size), pair(input_size)
        self.stride, self.dilation, self.groups = pair(stride), pair(dilation), groups
        self.padding: Padding = padding if isinstance(padding, str) else pair(padding)
        self.padding_mode: PaddingMode = padding_mode
        self._check_arguments()
        geometry = make_geometry(kernel_size, stride, padding, dilation, groups)
        self._sides, self.output_size = geometry.padding, geometry.output_size(self.input_size)
        self._check_output()
        filters = (*self.output_size, *self.kernel_size, in_channels // groups, out_channels)
        self.weight = nn.Parameter(torch.empty(filters, device=device, dtype=dtype))
        biases = torch.empty(out_channels, *self.output_size, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", None if biases is None else nn.Parameter(biases))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform within ``1 / sqrt(fan_in)`` of a position."""
        bound = 1 / math.sqrt(BY_POSITION.fan_in(self.weight))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(batch, in_channels, *input_size)`` to ``(batch, out_channels, *output_size)``."""
        expected = (self.in_channels, *self.input_size)
        if input.dim() not in (3, 4) or tuple(input.shape[-3:]) != expected:
            raise UserMistake(
                f"LocallyConnected2d made for inputs {expected} (channels, height, width), with or without a "
                f"batch before them, got {tuple(input.shape)}; make it with the input_size it will meet"
            )
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._sides, mode=self.padding_mode), 0
        return locally_connected2d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        """The arguments, those at their default left out."""
        shown = {
            "padding": self.padding if self.padding not in ((0, 0), "valid") else None,
            "dilation": self.dilation if self.dilation != (1, 1) else None,
            "groups": self.groups if self.groups != 1 else None,
            "bias": False if self.bias is None else None,
            "padding_mode": self.padding_mode if self.padding_mode != "zeros" else None,
        }
        rest = "".join(f", {name}={value!r}" for name, value in shown.items() if value is not None)
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"input_size={self.input_size}, stride={self.stride}{rest}"
        )

    def _check_arguments(self) -> None:
        pairs = {"kernel_size": self.kernel_size, "input_size": self.input_size}
        pairs |= {"stride": self.stride, "dilation": self.dilation}
        check_layer("LocallyConnected2d", self.in_channels, self.out_channels, self.groups, pairs)
        if self.padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise UserMistake(
                f"LocallyConnected2d: padding_mode {brief(self.padding_mode)} is unknown; "
                "known: zeros, reflect, replicate, circular"
            )

    def _check_output(self) -> None:
        if min(self.output_size) < 1:
            raise UserMistake(
                f"LocallyConnected2d: kernel_size {self.kernel_size} with dilation {self.dilation} does not "
                f"fit into input_size {self.input_size} with padding {self.padding}"
            )
