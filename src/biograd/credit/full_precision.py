"""Differences of nearly equal numbers are taken in the precision of the weights, also where autocast lowers products.

A bfloat16 has 8 significant bits, so that a difference of less than a 256th of its terms is rounding.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from biograd.credit.chain.blocks import Block
from biograd.credit.structures import device_of

_NOTHING = contextlib.nullcontext()


def is_lowered(chain: Sequence[Block]) -> bool:
    """Whether autocast is in force and gives products with the weights of a chain fewer digits than these have."""
    weight = next(chain[0].parameters())
    return weight.dtype == torch.float32 and torch.is_autocast_enabled(weight.device.type)


def full_precision(like: Any) -> contextlib.AbstractContextManager[object]:
    """A context without autocast on the device of a tensor, or of the first in a structure."""
    device = like.device.type if isinstance(like, Tensor) else device_of(like).type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else _NOTHING


def widened(x: Tensor) -> Tensor:
    """A tensor of fewer digits than float32 has as float32, any other as it is."""
    return x.float() if x.is_floating_point() and x.dtype.itemsize < 4 else x
