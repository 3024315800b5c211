"""oneDNN's matrix product, for processors on which PyTorch's BLAS falls far behind the convolution.

PyTorch convolves by oneDNN and multiplies float32 matrices by its BLAS, mostly Intel's MKL. On processors that are not
Intel's, MKL leaves AVX-512 unused and is half as fast as oneDNN; a locally connected layer then costs 2.5 times the
convolution of its shape, and by oneDNN's product 1.6 times. On Intel's own MKL is a tenth faster than oneDNN, and the
layer costs 1.3 times the convolution by it and 1.7 times by oneDNN. So this is the one place that asks for the
processor. Its bits depend on that anyway: MKL, too, chooses its kernels by it. No public function of PyTorch reaches
oneDNN's product without copying both matrices first.
"""

import functools
import platform
import sys

import torch
from torch import Tensor

IS_AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
"""Whether this build of PyTorch has the operator."""

LARGE = 4_000_000
"""Multiplications from which oneDNN is worth its 10 µs a call."""


@functools.cache
def is_faster() -> bool:
    """Whether there is oneDNN's product, and it is faster than the BLAS that PyTorch was built with."""
    return IS_AVAILABLE and torch.backends.mkl.is_available() and "GenuineIntel" not in _vendor()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, without a graph.

    Args:
        x: ``(…, in)``, float32 on the CPU, contiguous.
        weight: ``(out, in)``, contiguous either way.
        bias: ``(out,)``.
    """
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


def _vendor() -> str:
    """A line that names who made the processor."""
    if sys.platform != "linux":
        return platform.processor()
    with open("/proc/cpuinfo", errors="replace") as lines:
        return next((line for line in lines if line.startswith("vendor_id")), "")
