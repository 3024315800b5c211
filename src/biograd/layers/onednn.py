"""oneDNN's matrix product on the CPU: the one place that reaches for an operator that PyTorch keeps private.

PyTorch multiplies float32 matrices by its BLAS, and convolves by oneDNN. Where the BLAS leaves AVX-512 unused
(MKL on processors that are not Intel's), oneDNN's product is twice as fast.
"""

import torch
from torch import Tensor

IS_AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
"""Whether this build of PyTorch has the operator."""

LARGE = 2_000_000
"""Multiplications from which oneDNN is worth its 10 µs a call."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, tanh: bool = False) -> Tensor:
    """``x @ weight.T + bias``, and its tanh if that is wanted; without a graph.

    Args:
        x: ``(…, in)``, float32 on the CPU, contiguous.
        weight: ``(out, in)``, contiguous either way.
        bias: ``(out,)``.
        tanh: whether to take the tanh of the result.
    """
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "tanh" if tanh else "none", [], "")
