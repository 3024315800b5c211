"""No penalty, as a penalty: what a run has that names none."""

from torch import nn

from biograd.penalties.base import Penalty


class NoPenalty(Penalty):
    """The loss alone: nothing is added.

    Args:
        net: any net.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        del net

    def add_gradient(self, net: nn.Module) -> None:
        """Add nothing."""
        del net
