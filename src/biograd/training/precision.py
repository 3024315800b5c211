"""What a run's precision means for its inputs and its forward passes."""

import contextlib
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "float64", "bfloat16"]


def cast(x: Tensor, precision: Precision) -> Tensor:
    """A batch, inputs or targets, in the precision of the net; indices stay what they are."""
    return x.double() if precision == "float64" and x.is_floating_point() else x


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context that a forward pass runs in."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
