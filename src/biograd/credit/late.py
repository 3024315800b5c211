"""Numbers on a device that the host learns one call later, so that it never waits for the device."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from biograd.credit import replays


class Late(NamedTuple):
    """A number on its way from a device to the host, which is free to run ahead until the number is read.

    It says something of one step, so copies of what holds it have None in its place.

    Attributes:
        copy: where it arrives; pinned for a GPU, so that copying waits for nothing either.
        arrived: when it has; None where it has already.
    """

    copy: Tensor
    arrived: "torch.cuda.Event | None"

    @classmethod
    def of(cls, number: Tensor) -> "Late":
        """Send a number, as it is when the device comes to it."""
        replays.refuse("reads numbers of the step before")
        is_pinned = number.device.type == "cuda"
        copy = torch.empty_like(number, device="cpu", pin_memory=is_pinned).copy_(
            number, non_blocking=is_pinned
        )
        if not is_pinned:
            return cls(copy, None)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(number.device))
        return cls(copy, arrived)

    def read(self) -> float:
        """The number; waits for what the device had to do until it was sent, and for nothing behind that."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.copy.item()

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def is_read_at_once(device: torch.device) -> bool:
    """Whether a number on a device can be read without waiting for the device."""
    return device.type == "cpu"


def are_finite(numbers: Tensor, before: Late | None) -> tuple[bool, Late | None]:
    """Whether numbers are finite, where that can be read at once; elsewhere whether those of the last call were.

    Of a step that is captured nobody knows; a training loop looks at what it leaves.

    Args:
        numbers: of this call.
        before: what the last call gave for this one; None at the first.

    Returns:
        Whether, and what to give at the next call.
    """
    if replays.is_captured():
        return True, None
    if is_read_at_once(numbers.device):
        # no sum is finite of which a term is not
        return math.isfinite(numbers.sum().item()) or bool(numbers.isfinite().all()), None
    return before is None or bool(before.read()), Late.of(numbers.isfinite().all())
