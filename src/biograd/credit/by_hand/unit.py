"""A block of one layer with weights and one nonlinearity, and its derivatives by formula."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from biograd.credit.calls import Call
from biograd.credit.kinds import Weight, kind_of
from biograd.credit.kinds.slopes import IDENTITY, Slope
from biograd.credit.operations import Gradients

_IDENTITY = nn.Identity()


@dataclass(frozen=True)
class Unit:
    """A layer with weights between others that autograd is not needed for, or none.

    Attributes:
        leading: what leads the layer: a flattening, or a nonlinearity as decoders may have it there.
        leading_slope: of a nonlinearity that leads.
        opening: the layer.
        weight: what its kind says of it.
        nonlinearity: behind it.
        slope: of the nonlinearity.
        parameters: weight and bias of the layer, or the weight alone.
        axes: how many an input of the layer has, where it has as many at all times.
    """

    leading: nn.Module | None
    leading_slope: Slope | None
    opening: Any
    weight: Weight
    nonlinearity: nn.Module
    slope: Slope
    parameters: tuple[nn.Parameter, ...]
    axes: int | None

    @classmethod
    def of(
        cls, leading: Iterable[nn.Module], opening: nn.Module, following: Iterable[nn.Module]
    ) -> "Unit | None":
        """A block as a unit; None where it is more than that, or a layer has hooks or a forward of its own."""
        before, behind = (_without_identities(layers) for layers in (leading, following))
        kind = kind_of(opening)
        if kind is None or kind.weight is None or kind.weight.matrices is None or len(behind) > 1:
            return None
        nonlinearity = behind[0] if behind else _IDENTITY
        slope = _slope(nonlinearity)
        is_one = (
            opening._parameters.keys() == {"weight", "bias"}
            and len(before) <= 1
            and all(type(layer) is nn.Flatten or _slope(layer) is not None for layer in before)
            and not any(is_watched(layer) for layer in (*before, opening, *behind))
        )
        if slope is None or not is_one:
            return None
        held = map(opening._parameters.get, ("weight", "bias"))  # in whichever order the layer holds them
        parameters = tuple(parameter for parameter in held if parameter is not None)
        first = before[0] if before else None
        sizes = len(getattr(opening, "kernel_size", ()))
        axes = 2 + sizes if sizes and type(first) is not nn.Flatten else None
        first_slope = None if first is None else _slope(first)
        unit = cls(first, first_slope, opening, kind.weight, nonlinearity, slope, parameters, axes)
        return unit if unit.is_known else None

    @property
    def is_known(self) -> bool:
        """Whether its derivatives are: a layer may be set to a padding, or a slope, whose are not.

        A nonlinearity that leads may not overwrite the block's input either.
        """
        matrices, first = self.weight.matrices, self.leading_slope
        assert matrices is not None
        return (
            matrices.why_not(self.opening) is None
            and self.slope.is_known(self.nonlinearity)
            and (
                first is None
                or (first.is_known(self.leading) and not getattr(self.leading, "inplace", False))
            )
        )

    def takes(self, x: Tensor) -> bool:
        """Whether an input has the batch dimension that the layer reads."""
        return x.dim() >= 2 if self.axes is None else x.dim() == self.axes

    def run(self, x: Tensor) -> "Trace":
        """What the block makes of a batch, bit for bit; to be called without recording gradients."""
        trace = self.driven(x)
        trace.fired()
        return trace

    def driven(self, x: Tensor) -> "Trace":
        """As `run`, as far as the drive, which stands for the output until the trace has `Trace.fired`."""
        return self.weighed(x if self.leading is None else self.leading(x), x)

    def weighed(self, x: Tensor, entry: Tensor) -> "Trace":
        """As `driven`, of an entry that has passed what leads the layer."""
        call = self._call(x)
        return Trace(self, entry, x, call, call.computed())

    def _call(self, x: Tensor) -> Call:
        parameters, matrices = self.opening._parameters, self.weight.matrices
        assert matrices is not None
        return self.weight.parse(
            x, parameters["weight"], parameters["bias"], *matrices.arguments(self.opening)
        )


class Trace(NamedTuple):
    """A batch's way through a unit.

    Attributes:
        unit: which one.
        entry: its input.
        input: what the layer got.
        call: of the layer.
        output: what the unit gave.
    """

    unit: Unit
    entry: Tensor
    input: Tensor
    call: Call
    output: Tensor

    def fired(self) -> Tensor:
        """What the unit gives, in the memory of its drive, which nobody may read again."""
        return self.unit.slope.overwrite(self.unit.nonlinearity, self.output)

    def drive_anew(self) -> Tensor:
        """What the layer gave, computed anew; to be called without recording gradients."""
        return self.call.computed()

    def drive_signal(self, signal: Tensor, *, overwrites: bool = False) -> Tensor:
        r"""A signal s at the output as one at the drive, :math:`s \circ f'(z)`; on demand in the memory of s."""
        into = signal if overwrites else None
        return self.unit.slope.times(self.unit.nonlinearity, self.output, signal, into)

    def at_drive(self, delta: Tensor) -> "Trace":
        """The same way as far as the drive, where a signal is δ already and what the unit gave is not held."""
        unit = replace(self.unit, nonlinearity=_IDENTITY, slope=IDENTITY)
        return Trace(unit, self.input, self.input, self.call, delta)

    def gradients(self, delta: Tensor) -> Sequence[Tensor | None]:
        """Gradients of the unit's parameters from the derivative at its drive; None where they do not learn."""
        return self.carried(delta, None)[1]

    def carried(
        self,
        delta: Tensor,
        feedback: Tensor | None,
        magnitude: Tensor | None = None,
        *,
        teaches: bool = True,
    ) -> tuple[Tensor | None, Sequence[Tensor | None]]:
        """A derivative at the drive, carried to the entry through another weight, and gradients of the parameters.

        Args:
            delta: the derivative.
            feedback: in place of the weight; None where nothing is to be carried further.
            magnitude: where given, it goes back through ``sign(feedback) ∘ magnitude``.
            teaches: whether gradients are wanted at all.
        """
        learn = [teaches and parameter.requires_grad for parameter in self.unit.parameters]
        needs = (feedback is not None, *learn, False)[:3]
        B = self.call.weight if feedback is None else feedback
        found: Gradients = self.call.operation.backward(delta, self.call.x, B, needs, magnitude)
        e = None if found[0] is None else self.entry_signal(found[0])
        return e, found[1 : 1 + len(self.unit.parameters)]

    def entry_signal(self, signal: Tensor) -> Tensor:
        """A signal at what the layer got as one at the unit's input."""
        slope = self.unit.leading_slope
        if slope is not None:
            signal = slope.times(self.unit.leading, self.input, signal, None)
        return signal if signal.shape == self.entry.shape else signal.reshape(self.entry.shape)


def is_watched(layer: nn.Module) -> bool:
    """Whether a layer has hooks, or a forward that was put on it or compiled for it."""
    own = layer.__dict__  # asked of every layer at every call
    hooks = own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"]
    return bool(hooks or own["_backward_pre_hooks"] or "forward" in own or own.get("_compiled_call_impl"))


def _without_identities(layers: Iterable[nn.Module]) -> list[nn.Module]:
    return [layer for layer in layers if type(layer) is not nn.Identity or is_watched(layer)]


def _slope(layer: nn.Module) -> Slope | None:
    kind = kind_of(layer)
    return None if kind is None or layer._parameters else kind.slope
