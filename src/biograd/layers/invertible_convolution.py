"""A convolution whose map from patches to channels is square, and so can be inverted."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biograd.errors import NotFinite, UserMistake, brief
from biograd.layers.local.arguments import check_layer
from biograd.layers.local.geometry import each
from biograd.layers.weight_layout import OUTPUTS_FIRST


class InvertibleConv2d(nn.Conv2d):
    r"""`torch.nn.Conv2d` with as many output channels as a patch of its input has numbers, ``k · k · in_channels``.

    The matrix W that takes a patch to the channels at one place is then square. As so many channels are seldom
    wanted, a `FirstUnits` behind the nonlinearity passes on the first of them; the others are auxiliary.

    The input is had back from the drives z by a transposed convolution with the inverse matrix. Where patches
    overlap, every patch answers for itself: with c(i) patches over pixel i their answers add up to c(i) · x(i). For
    drives that are a target of the layer, the overlap is taken off at the input as it was:

    .. math:: t = \operatorname{fold}\bigl((z - b) W^{-1}\bigr) - (c - 1) \odot x, \qquad
              c = \operatorname{fold}(\operatorname{unfold}(1))

    So the layer's own drives give back its input exactly, a change δ of them moves it by
    :math:`\operatorname{fold}(\delta W^{-1})`, and a pixel that no patch covers (c = 0) stays as it is (Dalm et al.
    2023).

    Args:
        in_channels: channels of the input.
        kernel_size: height and width of a patch.
        stride: step from one patch to the next.
        padding: zeros on every side of the input.
        bias: whether there is one, of a number for each channel.
        device: of the parameters.
        dtype: of the parameters.

    W starts orthogonal, the bias at zero.

    Raises:
        UserMistake: a size below 1, or padding that is no number.

    Example:
        >>> layer = InvertibleConv2d(3, kernel_size=3, stride=2, padding=1)
        >>> layer(torch.zeros(10, 3, 32, 32)).shape
        torch.Size([10, 27, 16, 16])
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if isinstance(padding, str) or min(_pair(padding, "padding")) < 0:
            raise UserMistake(
                f"InvertibleConv2d: padding must be numbers of at least 0, got {brief(padding)}"
            )
        kernel, steps = _pair(kernel_size, "kernel_size"), _pair(stride, "stride")
        check_layer("InvertibleConv2d", in_channels, in_channels, 1, {"kernel_size": kernel, "stride": steps})
        out_channels = math.prod(kernel) * in_channels
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            steps,
            _pair(padding, "padding"),
            bias=bias,
            device=device,
            dtype=dtype,
        )

    def reset_parameters(self) -> None:
        """Draw an orthogonal matrix anew; the bias becomes zero."""
        nn.init.orthogonal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def matrix(self) -> Tensor:
        """W, ``(fan_in, out)``: from a patch ``(in_channels, height, width)``, flattened, to the channels; a view."""
        return OUTPUTS_FIRST.as_matrices(self.weight)

    def reconstruct(self, z: Tensor, x: Tensor) -> Tensor:
        """The input t that would give the drives ``z``, as far as patches agree on it; see the class.

        Args:
            z: drives, bias included, ``(batch, out_channels, out_height, out_width)``.
            x: the layer's input as it was, ``(batch, in_channels, height, width)``.

        Returns:
            In the shape of ``x``.

        Raises:
            UserMistake: drives in another shape than those of ``x``.
            NotFinite: W is singular, or not finite.
        """
        expected = (*x.shape[:-3], self.out_channels, *self._places(x))
        if x.dim() not in (3, 4) or x.shape[-3] != self.in_channels or tuple(z.shape) != expected:
            raise UserMistake(
                f"InvertibleConv2d: reconstruct takes the drives {expected} of an input {tuple(x.shape)} of "
                f"{self.in_channels} channels, got {tuple(z.shape)}"
            )
        drives = z if self.bias is None else z - self.bias[:, None, None]
        back = self._fold(drives, self._inverse().view(self.weight.shape), x)
        one = x.new_ones(1, 1, *self.kernel_size)
        covered = self._fold(one.new_ones(1, *z.shape[-2:]), one, x)  # c, (1, height, width)
        return back - (covered - 1) * x

    def _places(self, x: Tensor) -> tuple[int, ...]:
        return tuple(
            (n + 2 * int(p) - k) // s + 1
            for n, k, s, p in zip(x.shape[-2:], self.kernel_size, self.stride, self.padding, strict=True)
        )

    def _fold(self, patches: Tensor, kernel: Tensor, x: Tensor) -> Tensor:
        """Each place's channels times the kernel, added up where they lie in ``x``."""
        rest = tuple(  # rows and columns at the end that no patch begins in, given back as zeros
            (n + 2 * int(p) - k) % s
            for n, k, s, p in zip(x.shape[-2:], self.kernel_size, self.stride, self.padding, strict=True)
        )
        return F.conv_transpose2d(patches, kernel, None, self.stride, self.padding, rest)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def _inverse(self) -> Tensor:
        """W⁻¹, ``(out, fan_in)``."""
        inverse, info = torch.linalg.inv_ex(self.matrix())
        if info.any() or not torch.isfinite(inverse).all():
            raise NotFinite(
                f"InvertibleConv2d({self.in_channels}, kernel_size={self.kernel_size}): its matrix is singular or not "
                "finite, so that no input can be had back from its drives; start from orthogonal weights, or lower "
                "the learning rate"
            )
        return inverse


def _pair(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    height, width = each(value, 2, name)
    return height, width
