"""The contract of a penalty: add its derivative to what a rule has taught, and nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from biograd.credit.wrappers import unwrap
from biograd.errors import UnsupportedNet


class Penalty(nn.Module, ABC):
    """Interface of every penalty: a function of a net's weights alone that is minimised beside the loss.

    A penalty is made for one net, ``Penalty(net, **settings)``: the keyword-only parameters are its settings. It
    stores names and shapes of the net's parameters and its own state (counters, derivatives that are held), as
    buffers or extra state, never the net or its tensors. Its strength is in units of the mean loss of a batch,
    whatever the rule teaches in.

    The training loop calls it in every step, behind the rule and, where several processes train together, behind
    the average of their gradients: so it counts once, and neither the loss that is recorded nor the update that
    diagnostics measure has a part of it.
    """

    @abstractmethod
    def add_gradient(self, net: nn.Module) -> None:
        """Add the derivative to ``.grad`` of the net's parameters; see `add_to_gradient`. Draws nothing.

        Args:
            net: the net the penalty was made for, or a data-parallel or compile wrapper of it.

        Raises:
            UnsupportedNet: the net does not match.
        """


@torch.no_grad()
def add_to_gradient(parameter: Tensor, derivative: Tensor, *, times: float = 1.0) -> None:
    """Add ``times · derivative`` to a parameter's ``.grad`` where the rule has taught it in this step.

    What is frozen, or not taught in a phase of the rule, stays as it is, as under the weight decay of an optimiser.

    Args:
        parameter: of the net.
        derivative: in its shape.
        times: a factor.
    """
    if parameter.requires_grad and parameter.grad is not None:
        parameter.grad.add_(derivative, alpha=times)


def parameters_of(net: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, nn.Parameter]:
    """The parameters that a penalty is for, by name, of the net of this call.

    Args:
        net: as in `Penalty.add_gradient`.
        shapes: name to shape when the penalty was made.

    Raises:
        UnsupportedNet: one is missing, or has another shape.
    """
    parameters = dict(unwrap(net).named_parameters())
    for name, shape in shapes.items():
        got = tuple(parameters[name].shape) if name in parameters else "no such parameter"
        if got != shape:
            raise UnsupportedNet(
                f"the penalty was made for another net: {name!r} had shape {shape}, here it is {got}; make the penalty "
                "for the net it is added to"
            )
    return {name: parameters[name] for name in shapes}
