"""What locally connected layers and their transposes have in common: a filter of its own at every position."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from biograd.errors import UserMistake, brief
from biograd.layers.local.arguments import axes, check_layer
from biograd.layers.local.geometry import Padding, Sizes, each, make_geometry
from biograd.layers.weight_layout import OUTPUTS_FIRST, WeightLayout, by_position

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class OwnFilters(nn.Module):
    """A layer over maps of one to three dimensions, with a filter of its own at every position of one of its maps.

    Attributes:
        dimensions: of the maps.
        size_argument: the argument that gives the size of the map which the windows lie in.
        weight: ``(*positions, *kernel, channels / groups, channels)``: channels of the map that the windows lie in,
            and those of the map whose places are the positions.
        bias: one number for each unit of the output, or None.
    """

    dimensions: ClassVar[int]
    size_argument: ClassVar[Literal["input_size", "output_size"]]
    weight: nn.Parameter
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        size: Sizes,
        stride: Sizes,
        padding: Padding,
        dilation: Sizes,
        groups: int,
        padding_mode: PaddingMode = "zeros",
    ) -> None:
        super().__init__()
        n = self.dimensions
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = each(kernel_size, n, "kernel_size"), each(stride, n, "stride")
        self.dilation = each(dilation, n, "dilation")
        self.padding: Padding = padding if isinstance(padding, str) else each(padding, n, "padding")
        self.padding_mode: PaddingMode = padding_mode
        self._windowed = each(size, n, self.size_argument)
        self._check_arguments()
        self._geometry = make_geometry(n, self.kernel_size, self.stride, padding, self.dilation, groups)
        self._check_positions()

    @property
    def layout(self) -> WeightLayout:
        """Which axis of the weight is what."""
        return by_position(self.dimensions)

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform within one over the root of the numbers that a filter spans."""
        bound = 1 / math.sqrt(self.layout.fan_in(self.weight))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """The arguments, those at their default left out."""
        shown = {
            "padding": self.padding if self.padding not in ((0,) * self.dimensions, "valid") else None,
            "dilation": self.dilation if max(self.dilation) > 1 else None,
            "groups": self.groups if self.groups != 1 else None,
            "bias": False if self.bias is None else None,
            "padding_mode": self.padding_mode if self.padding_mode != "zeros" else None,
        }
        rest = "".join(f", {name}={value!r}" for name, value in shown.items() if value is not None)
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"{self.size_argument}={self._windowed}, stride={self.stride}{rest}"
        )

    def _register(
        self,
        filters: Sequence[int],
        biases: Sequence[int] | None,
        device: Any,
        dtype: torch.dtype | None,
    ) -> None:
        """Make the parameters, in these shapes."""
        self.weight = nn.Parameter(torch.empty(filters, device=device, dtype=dtype))
        bias = None if biases is None else nn.Parameter(torch.empty(biases, device=device, dtype=dtype))
        self.register_parameter("bias", bias)
        self.reset_parameters()

    def _check_input(self, input: Tensor, size: Sequence[int], remedy: str) -> None:
        """Refuse an input of another size than the layer was made for."""
        expected, n = (self.in_channels, *size), self.dimensions
        if input.dim() not in (n + 1, n + 2) or tuple(input.shape[-n - 1 :]) != expected:
            raise UserMistake(
                f"{type(self).__name__} made for inputs {expected} (channels, {axes(n)}), with or without a batch "
                f"before them, got {tuple(input.shape)}; {remedy}"
            )

    def _check_arguments(self) -> None:
        sizes = {"kernel_size": self.kernel_size, self.size_argument: self._windowed}
        sizes |= {"stride": self.stride, "dilation": self.dilation}
        check_layer(type(self).__name__, self.in_channels, self.out_channels, self.groups, sizes)
        if self.padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise UserMistake(
                f"{type(self).__name__}: padding_mode {brief(self.padding_mode)} is unknown; "
                "known: zeros, reflect, replicate, circular"
            )

    def _check_positions(self) -> None:
        if min(self._positions) < 1:
            raise UserMistake(
                f"{type(self).__name__}: kernel_size {self.kernel_size} with dilation {self.dilation} does not "
                f"fit into {self.size_argument} {self._windowed} with padding {self.padding}"
            )

    @property
    def _positions(self) -> tuple[int, ...]:
        return self._geometry.output_size(self._windowed)


def layout_of(layer: nn.Module) -> WeightLayout:
    """Which axis of a layer's weight is what.

    A transposed convolution's is read as PyTorch reads it when it draws weights, ``(out, in, …)``.

    Example:
        >>> layer = nn.Conv2d(3, 64, kernel_size=5)
        >>> layout_of(layer).fan_in(layer.weight)
        75
    """
    return layer.layout if isinstance(layer, OwnFilters) else OUTPUTS_FIRST
