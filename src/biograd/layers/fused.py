"""Linear layers and tanh in single precision on a CPU, by the faster of PyTorch's ways; elsewhere its own.

oneDNN multiplies large matrices faster than PyTorch's BLAS on some processors, and adds a tanh at no cost. PyTorch's
own tanh is several times as slow as its logistic function. Results differ from PyTorch's own by rounding, so this is
for decoders and for what they are taught on, not for the net's forward pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from biograd.layers import onednn


def fused_tanh(x: Tensor) -> Tensor:
    r""":math:`\tanh x = 2 / (1 + e^{-2x}) - 1`, right to 2e-7 absolutely in single precision."""
    return torch.sigmoid(x + x).mul(2).sub_(1) if _is_single(x) else torch.tanh(x)


def fused_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, tanh: bool = False) -> Tensor:
    """As `torch.nn.functional.linear`, and its tanh if that is wanted.

    Args:
        x: ``(…, in)``.
        weight: ``(out, in)``.
        bias: ``(out,)``.
        tanh: whether to take the tanh of the result.
    """
    if not _is_worth_it(x, weight):
        y = F.linear(x, weight, bias)
        return fused_tanh(y) if tanh else y
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias)):
        return _FusedLinear.apply(x, weight, bias, tanh)  # pyright: ignore[reportReturnType]
    return onednn.linear(x, weight, bias, tanh=tanh)


class FusedLinear(nn.Linear):
    """`torch.nn.Linear`, and a tanh behind it if that is wanted, by `fused_linear`.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        tanh: whether to take the tanh of the result.
    """

    def __init__(self, in_features: int, out_features: int, *, tanh: bool = False) -> None:
        super().__init__(in_features, out_features)
        self.tanh = tanh

    def forward(self, input: Tensor) -> Tensor:
        """The input through the layer, ``(…, out)``."""
        return fused_linear(input, self.weight, self.bias, tanh=self.tanh)

    def extra_repr(self) -> str:
        """Sizes, and whether there is a tanh."""
        return f"{super().extra_repr()}, tanh={self.tanh}"


class FusedTanh(nn.Tanh):
    """`torch.nn.Tanh` by `fused_tanh`."""

    def forward(self, input: Tensor) -> Tensor:
        """Tanh of the input."""
        return fused_tanh(input)


class _FusedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, tanh: bool) -> Tensor:  # pyright: ignore
        y = onednn.linear(x, weight, bias, tanh=tanh)
        ctx.save_for_backward(x, weight, y if tanh else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        x, weight, y = ctx.saved_tensors
        if y is not None:
            grad = torch.ops.aten.tanh_backward(grad, y)
        rows, needs = grad.reshape(-1, grad.shape[-1]), ctx.needs_input_grad
        by_x = onednn.linear(grad, weight.t()) if needs[0] else None
        by_weight = onednn.linear(rows.t(), x.reshape(-1, x.shape[-1]).t()) if needs[1] else None
        return by_x, by_weight, rows.sum(0) if needs[2] else None, None


def _is_single(x: Tensor) -> bool:
    return x.dtype is torch.float32 and x.device.type == "cpu"


def _is_worth_it(x: Tensor, weight: Tensor) -> bool:
    is_single = onednn.IS_AVAILABLE and _is_single(x) and weight.dtype is torch.float32
    return is_single and x.numel() * len(weight) >= onednn.LARGE and not torch.is_autocast_enabled("cpu")
