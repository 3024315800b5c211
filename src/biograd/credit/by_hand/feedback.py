"""Errors carried down a chain by hand, through other weights than the net's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from biograd.credit.by_hand.remembered import Remembered
from biograd.credit.by_hand.unit import Trace, Unit
from biograd.credit.chain.blocks import Block, cut_layers, flat_layers, is_chain
from biograd.credit.feedback.fitting import Feedback, fitting
from biograd.credit.feedback.forms import as_it_is
from biograd.credit.feedback.taught_call import OnCall, TaughtCall
from biograd.credit.kinds.slopes import IDENTITY
from biograd.credit.operations import Following, Signed
from biograd.errors import UserMistake


class Units:
    """Gives a net's blocks where all of them are units, so that no call has to watch what the net does.

    Args:
        net: that a rule is made for.
    """

    def __init__(self, net: nn.Module) -> None:
        self._remembered = Remembered()
        cut = cut_layers(list(flat_layers(net))) if is_chain(net) else []
        self._are_likely = bool(cut) and all(
            Unit.of(block.leading, block.opening, block.following) for block in cut
        )

    def of(self, net: nn.Module, x: Any, check: Callable[[nn.Module], object]) -> list[Block] | None:
        """The blocks, each with its unit; None where one has none at this batch, or the net is no such chain.

        Args:
            net: of this call.
            x: its batch.
            check: is called with a net that is new, or that changed.
        """
        if (
            not self._are_likely
            or not isinstance(x, Tensor)
            or x.requires_grad
            or not torch.is_grad_enabled()
        ):
            return None
        chain = self._remembered.of(net, x)
        if chain is None:
            check(net)
            chain = self._looked_at(net, x)
        if not chain or any(block.unit is None for block in chain):
            return None
        assert chain[0].unit is not None
        return chain if chain[0].unit.takes(x) else None

    def _looked_at(self, net: nn.Module, x: Tensor) -> list[Block] | None:
        if not is_chain(net):
            return None
        chain = cut_layers(list(flat_layers(net)))
        parameters = [parameter for block in chain for parameter in block.parameters()]
        if len({id(parameter) for parameter in parameters}) < len(parameters):
            return None  # one parameter under two names
        self._remembered.keep(net, chain)
        return self._remembered.of(net, x)


class CarriedByHand:
    """A batch's way up a chain of units, and the way of its error back through feedback weights.

    Args:
        chain: units, all of them.
        x: the batch.
        feedback: by the names of weights; errors pass others exactly.
        on_call: see `biograd.credit.feedback.taught_call.TaughtCall`.

    Attributes:
        taught: the parameters of the units, and feedback that follows weights.
    """

    def __init__(
        self,
        chain: Sequence[Block],
        x: Tensor,
        feedback: Mapping[str, Feedback],
        on_call: OnCall | None = None,
    ) -> None:
        self._x, self._on_call = x, on_call
        self._units = [block.unit for block in chain if block.unit is not None]
        weights = weights_of(chain)
        self._feedback = [
            fitting(name, weight, feedback) if name in feedback else weight.detach()
            for name, weight in weights
        ]
        self._taught = [name if name in feedback else None for name, _ in weights]
        learn = [any(parameter.requires_grad for parameter in unit.parameters) for unit in self._units]
        self._lowest = learn.index(True) if True in learn else len(learn)
        self._traces: list[Trace] = []
        self._version = 0  # of the output, which the net's last nonlinearity may be told by

        followers = [B.matrix for B in self._feedback if isinstance(B, Following)]
        self.taught = [*(parameter for unit in self._units for parameter in unit.parameters), *followers]

    def with_graph(self, output: Tensor) -> Tensor:
        """The net's output as it `ran`, whose backward brings all layers their gradients in one step of autograd's."""
        return _Net.apply(self, [output], *self.taught)  # pyright: ignore[reportReturnType]

    def ran(self) -> Tensor:
        """The output, without a graph; to be called without recording gradients.

        Another tensor is kept of it: it may get a graph that leads here.
        """
        x = self._x
        for place, (unit, name) in enumerate(zip(self._units, self._taught, strict=True)):
            trace = unit.run(x)
            self._traces.append(trace)
            x = trace.output
            if self._on_call is not None and name is not None:
                call = trace.call
                carries = place > self._lowest
                self._on_call(TaughtCall(name, call.operation, call.x.shape, carries, as_it_is(call.weight)))
        self._traces[-1] = self._traces[-1]._replace(output=x.detach())
        self._version = x._version
        return x

    def gradients(self, error: Tensor) -> list[Tensor | None]:
        r"""Gradients of all that is `taught`, from the derivative at the output; to be called once.

        .. math:: \delta_l = (B_{l+1} \delta_{l+1}) \circ \varphi'(a_l)
        """
        last = self._traces[-1]
        if last.unit.slope is not IDENTITY and last.output._version != self._version:
            raise UserMistake(
                "the loss overwrites the net's output, which its derivative needs: let it make a new tensor"
            )
        signal: Tensor | None = error
        found: list[Sequence[Tensor | None]] = [[None] * len(unit.parameters) for unit in self._units]
        for place in reversed(range(self._lowest, len(self._units))):
            assert signal is not None
            trace, B = self._traces.pop(), self._feedback[place]
            carries, magnitude = _matrix(B, trace.call.weight) if place > self._lowest else (None, None)
            signal, found[place] = trace.carried(trace.drive_signal(signal), carries, magnitude)
        # ΔB = ΔW: a copy, as clipping or scaling gradients would act on one tensor twice
        followed = [
            None if (of_weight := of_unit[0]) is None else of_weight.clone()
            for of_unit, B in zip(found, self._feedback, strict=True)
            if isinstance(B, Following)
        ]
        return [*(gradient for of_unit in found for gradient in of_unit), *followed]


class _Net(torch.autograd.Function):
    """A whole net as one function of its parameters."""

    @staticmethod
    def forward(ctx: Any, run: CarriedByHand, output: list[Tensor], *taught: Tensor) -> Tensor:  # pyright: ignore
        ctx.run = run
        return output.pop()  # in a list, as what is given itself would come back as a view

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        run, ctx.run = ctx.run, None
        return None, None, *run.gradients(error)


def weights_of(chain: Sequence[Block]) -> list[tuple[str, nn.Parameter]]:
    """The weights of units with their names in the net."""
    return [(f"{block.name}.weight", block.unit.parameters[0]) for block in chain if block.unit is not None]


def _matrix(B: Feedback, weight: Tensor) -> tuple[Tensor, Tensor | None]:
    """A matrix that carries an error, and the magnitudes that it takes where its signs alone count."""
    if callable(B):
        B = B()
    if isinstance(B, Signed):
        return weight, B.magnitude
    return (B.matrix.detach() if isinstance(B, Following) else B), None
