"""What a run's precision means for its inputs and its forward passes."""

import contextlib
from typing import Any, Literal

import torch
from torch import Tensor

from biograd.credit.structures import map_tensors

Precision = Literal["float32", "float64", "bfloat16"]


def cast(x: Any, precision: Precision) -> Any:
    """A batch, inputs or targets, in the precision of the net; indices stay what they are."""
    return map_tensors(_doubled, x) if precision == "float64" else x


def _doubled(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context that a forward pass runs in."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
