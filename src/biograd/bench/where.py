"""Where benchmarks run: a device, and whether it replays the steps that it is given."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from biograd.bench.timing import CPU, Step
from biograd.training.graphs import graphs_on
from biograd.training.replayed import Replayed


@dataclass(frozen=True)
class Where:
    """A device, and how steps are begun there.

    Attributes:
        device: the device.
        is_replayed: whether steps are captured as CUDA graphs, the references too.
    """

    device: torch.device = CPU
    is_replayed: bool = False

    def placed(self, net: nn.Module, x: Tensor, y: Tensor) -> tuple[nn.Module, Tensor, Tensor]:
        """A net with its batch, there."""
        return net.to(self.device), x.to(self.device), y.to(self.device)

    def ready(self, step: Step) -> Step:
        """A step as it is timed; one that is replayed has been captured.

        Raises:
            NotCaptured: it cannot be.
        """
        if not self.is_replayed:
            return step
        replayed = Replayed(step, graphs_on(self.device)())
        while not replayed.is_captured:
            replayed()
        return replayed


HERE = Where()
"""The CPU."""
