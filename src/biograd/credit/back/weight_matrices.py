"""A layer's weights read as matrices, and signals sent through others in their place.

They are read as W, ``(…, fan_in, out)``, that take a patch of the layer's input to its outputs at one place: one matrix
for a linear layer or a convolution, one a group, one a position where it is locally connected.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from biograd.credit.calls import Call
from biograd.credit.kinds import (
    KINDS,
    Matrices,
    how_weight_is_computed,
    kind_of,
    nearest_weight,
    stacked,
)
from biograd.errors import UnsupportedNet, UserMistake
from biograd.layers.weight_layout import OUTPUTS_FIRST, WeightLayout


def require_invertible_kind(layer: nn.Module, name: str) -> None:
    """Refuse a layer whose weights cannot be read as matrices.

    Raises:
        UnsupportedNet: its kind has none, as linear, convolutional and locally connected layers do, it pads in a way
            of its own, or its weight is computed: to read it would compute it anew.
    """
    reason = why_not_invertible(layer, name)
    if reason is not None:
        raise UnsupportedNet(reason)


def why_not_invertible(layer: nn.Module, name: str) -> str | None:
    """Why a layer cannot be inverted through its weight as it is, in a line that names it; None where it can."""
    if not has_matrices(layer):
        return _unknown_inverse(layer, name)
    reason = matrices_of(layer).why_not(layer)
    if reason is not None:
        return f"{name!r} {reason}"
    computed = how_weight_is_computed(layer)
    if computed is not None:
        return (
            f"the weight of {name!r} is computed from other parameters ({computed}), and the rule inverts weights that "
            "learn themselves: remove that (torch.nn.utils has a function for each)"
        )
    return None


def _unknown_inverse(layer: nn.Module, name: str) -> str:
    known = [kind.types[0].__name__ for kind in KINDS if kind.weight and kind.weight.matrices]
    return f"{name!r} is a {type(layer).__name__}, whose inverse is not known: expected {', '.join(known)}"


@dataclass(frozen=True)
class Reading:
    """How a weight is read as matrices, whether a layer of a known kind has it or not.

    Attributes:
        layout: which axis is what.
        groups: how many matrices lie one above another.
    """

    layout: WeightLayout
    groups: int

    @classmethod
    def of(cls, owner: nn.Module, name: str, weight: Tensor) -> "Reading":
        """How a weight of a module is read.

        A parameter of two dimensions in no layer of a known kind is one matrix, and its :math:`W^+` the same whichever
        way it is multiplied; one of more is a matrix for each place along the axes in front.

        Args:
            owner: the module that has it.
            name: of the weight, its name there last.
            weight: the weight.

        Raises:
            UnsupportedNet: the layer's outputs are no product of a patch of its input with a matrix.
        """
        layer, _, attribute = name.rpartition(".")
        kind = nearest_weight(owner) if attribute == "weight" else None
        if kind is None:
            is_stack = weight.dim() > 2
            layout = WeightLayout(weight.dim() - 2, -1) if is_stack else OUTPUTS_FIRST
            return cls(layout, 1 if is_stack else stacked(owner, attribute))
        groups = getattr(owner, "groups", 1)
        if kind.matrices is None or (kind.matrices.layout.positions and groups > 1):
            raise UnsupportedNet(_unknown_inverse(owner, layer))
        return cls(kind.matrices.layout, groups)

    def matrices(self, weight: Tensor) -> Tensor:
        """A weight as matrices ``(…, fan_in, out)``, detached."""
        return self.layout.as_matrices(weight.detach(), self.groups)

    def weight(self, matrices: Tensor, like: Tensor) -> Tensor:
        """Matrices ``(…, fan_in, out)`` in the layout of a weight."""
        return self.layout.as_weight(matrices, like)


def require_batch(layer: nn.Module, drive: Tensor) -> None:
    """Refuse what a layer makes of one example without its batch dimension.

    Raises:
        UserMistake: it is that.
    """
    if drive.dim() < 2 + len(vars(layer).get("kernel_size", ())):
        raise UserMistake(
            f"expected a batch (batch, …), but a {type(layer).__name__} gave {tuple(drive.shape)}: give the one "
            "example a batch dimension, x[None]"
        )


def has_matrices(layer: nn.Module) -> bool:
    """Whether the layer's weight can be read as matrices, and its forward pass is that of its kind."""
    kind = kind_of(layer)
    return kind is not None and kind.weight is not None and kind.weight.matrices is not None


def weight_matrices(layer: nn.Module, used: int | None = None) -> Tensor:
    """W of a layer as ``(…, fan_in, out)``, detached; the leading dimension counts groups or positions.

    Args:
        layer: see `require_invertible_kind`.
        used: how many of the outputs (the first ones) count; None for all.
    """
    return as_matrices(layer, narrowed(layer, used))


def narrowed(layer: nn.Module, used: int | None) -> Tensor:
    """The part of a layer's weight that leads to its first ``used`` outputs, in the weight's own layout."""
    return narrow(layer, _weight(layer).detach(), used)


def narrow(layer: nn.Module, weight: Tensor, used: int | None) -> Tensor:
    """The part for the first ``used`` outputs of a tensor in the layout of a layer's weight; a view."""
    return weight if used is None else matrices_of(layer).layout.narrow(weight, used)


def as_matrices(layer: nn.Module, weight: Tensor) -> Tensor:
    """A tensor in the layout of a layer's weight as matrices ``(…, fan_in, out)``."""
    return matrices_of(layer).layout.as_matrices(weight, getattr(layer, "groups", 1))


def as_weight(layer: nn.Module, matrices: Tensor, like: Tensor) -> Tensor:
    """Matrices ``(…, fan_in, out)`` in the layout of a layer's weight, that of ``like``; undoes `as_matrices`."""
    return matrices_of(layer).layout.as_weight(matrices, like)


def _weight(layer: Any) -> Tensor:
    return layer.weight  # no parameter where it is computed from others


def multiplies_rows(layer: nn.Module) -> bool:
    """Whether the layer is a product with its one matrix along the last axis of its input."""
    return matrices_of(layer).multiplies_rows


def matrices_of(layer: nn.Module) -> Matrices:
    """How the weight of a layer's kind is read as matrices; it has to have them."""
    weight = nearest_weight(layer)
    assert weight is not None
    assert weight.matrices is not None
    return weight.matrices


def carry(layer: nn.Module, delta: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Send a signal at a layer's outputs back to its input as the layer's derivative would, through another weight.

    Args:
        layer: which operation.
        delta: the signal, ``(batch, outputs, …)``.
        x: the layer's input, for its shape.
        weight: what it travels through, in the layout of the layer's weight.
    """
    call = _call(layer, x, weight)
    carried = call.operation.backward(delta, call.x, weight, (True, False, False))[0]
    assert carried is not None
    return carried


def apply(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """The layer's operation on ``x`` with another weight, in the layout of its own, and without bias."""
    call = _call(layer, x, weight)
    return call.operation.forward(call.x, weight, None)


def _call(layer: nn.Module, x: Tensor, weight: Tensor) -> Call:
    kind = nearest_weight(layer)
    assert kind is not None
    return kind.parse(x, weight, None, *matrices_of(layer).arguments(layer))
