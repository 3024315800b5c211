"""Which axis of a layer's weight is what: a filter for each output, or one for each output and position."""

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class WeightLayout:
    """Where in a weight its positions, its outputs and the inputs of one output lie.

    Attributes:
        positions: how many axes at the front count positions with filters of their own, one to three; 0 where all share
            theirs.
        outputs: the axis of the outputs: 0 or the last, −1.
    """

    positions: int
    outputs: int

    def incoming(self, weight: Tensor) -> tuple[int, ...]:
        """The axes that lead through the inputs of one output at one position."""
        outputs = self.outputs % weight.dim()
        return tuple(axis for axis in range(self.positions, weight.dim()) if axis != outputs)

    def fan_in(self, weight: Tensor) -> int:
        """How many inputs one output has at one position."""
        return math.prod(weight.shape[axis] for axis in self.incoming(weight))

    def fans(self, weight: Tensor) -> tuple[int, int]:
        """Inputs of one output, and outputs that one input reaches at stride 1, both counted inside."""
        fan_in = self.fan_in(weight)
        field = fan_in // weight.shape[1 if self.outputs == 0 else -2]  # places in a kernel
        return fan_in, weight.shape[self.outputs] * field

    def filters(self, weight: Tensor) -> Tensor:
        """The matrices as they lie: ``(1, out, fan_in)``, or ``(positions, fan_in, out)``."""
        if self.outputs == 0:
            return weight.flatten(1)[None]
        matrices = weight.flatten(self.positions, -2)
        return matrices.flatten(0, self.positions - 1) if self.positions else matrices[None]

    def narrow(self, weight: Tensor, used: int) -> Tensor:
        """The part that leads to the first ``used`` outputs; a view."""
        return weight[:used] if self.outputs == 0 else weight[..., :used]

    def as_matrices(self, weight: Tensor, groups: int = 1) -> Tensor:
        """Matrices ``(…, fan_in, out)``, one a group, or one a position."""
        if self.outputs != 0:
            return weight.flatten(self.positions, -2)
        if groups == 1:
            return (weight if weight.dim() == 2 else weight.flatten(1)).t()
        return weight.reshape(groups, len(weight) // groups, -1).transpose(1, 2)

    def as_weight(self, matrices: Tensor, like: Tensor) -> Tensor:
        """Matrices ``(…, fan_in, out)`` in the shape of a weight; undoes `as_matrices`."""
        lying = matrices.transpose(-1, -2) if self.outputs == 0 else matrices
        return lying.reshape(like.shape)


OUTPUTS_FIRST = WeightLayout(positions=0, outputs=0)
"""``(out, in, …)``, as linear layers and convolutions have it: in / groups inputs, then the kernel."""


def by_position(dimensions: int) -> WeightLayout:
    """``(*positions, *kernel, in, out)``, as locally connected layers over maps of so many dimensions have it."""
    return WeightLayout(positions=dimensions, outputs=-1)
