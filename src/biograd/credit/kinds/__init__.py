"""What every kind of layer is, said once: blocks, feedback paths, inverses, decoders and rules read it here.

A layer that another package brings is made known by one `LayerKind`, given to `enter`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from biograd.credit.calls import Call
from biograd.credit.kinds.attention import ATTENTION
from biograd.credit.kinds.exact_layers import EXACT_LAYERS
from biograd.credit.kinds.layer_kind import (
    Exact,
    LayerKind,
    Matrices,
    Neurons,
    Opaque,
    Place,
    Weight,
    WrittenOut,
    WrittenOutCall,
)
from biograd.credit.kinds.nonlinearities import NONLINEARITIES
from biograd.credit.kinds.opaque_modules import OPAQUE_MODULES
from biograd.credit.kinds.recurrent_layers import RECURRENT_LAYERS
from biograd.credit.kinds.shape_layers import SHAPE_LAYERS
from biograd.credit.kinds.weight_layers import WEIGHT_LAYERS

__all__ = [
    "EXACT_FUNCTIONS",
    "EXACT_NODES",
    "KINDS",
    "PARSERS",
    "Exact",
    "LayerKind",
    "Matrices",
    "Neurons",
    "Opaque",
    "Place",
    "WRITTEN_OUT",
    "Weight",
    "WrittenOut",
    "enter",
    "features_axis",
    "has_filters",
    "has_neurons",
    "how_weight_is_computed",
    "incoming_axes",
    "input_shape",
    "is_silent",
    "is_unit_by_unit",
    "kind_of",
    "nearest_kind",
    "nearest_weight",
    "neuron_axis",
    "neurons",
    "positions_sharing",
    "shares_weights",
    "stacked",
]

KINDS: list[LayerKind] = []
"""The kinds that there are; `enter` adds one."""

PARSERS: dict[Callable[..., Any], Callable[..., Call]] = {}
"""The functions that multiply by a weight, each with what takes its arguments apart."""

WRITTEN_OUT: dict[Callable[..., Any], Callable[..., WrittenOutCall]] = {}
"""The functions that hide products with weights, each with what takes its arguments apart."""

EXACT_FUNCTIONS: dict[Callable[..., Any], LayerKind] = {}
"""The functions that may use a parameter as it is, each with the kind that says so."""

EXACT_NODES: dict[str, LayerKind] = {}
"""What autograd calls them, without ``Backward0``."""

_BY_TYPE: dict[type[nn.Module], LayerKind] = {}
# What was the forward of each when it was entered: another may be put on a class too.
_FORWARD: dict[type[nn.Module], Callable[..., Any]] = {}
# Asked several times of every layer in every call of a rule; a dictionary, as compilers warn of functools.cache.
_NEAREST: dict[type[nn.Module], LayerKind | None] = {}


def enter(kind: LayerKind) -> None:
    """Make a kind of layer known, for the rest of the process; of a type entered twice the last kind holds."""
    KINDS.append(kind)
    _BY_TYPE.update(dict.fromkeys(kind.types, kind))
    _FORWARD.update((module, forward_of(module)) for module in kind.types)
    _NEAREST.clear()
    if kind.weight is not None:
        PARSERS[kind.weight.function] = kind.weight.parse
    if isinstance(kind.feedback, WrittenOut):
        WRITTEN_OUT.update(kind.feedback.parsers)
    if isinstance(kind.feedback, Exact):
        EXACT_FUNCTIONS.update(dict.fromkeys(kind.feedback.functions, kind))
        EXACT_NODES.update(dict.fromkeys(kind.feedback.nodes, kind))


def nearest_kind(layer: nn.Module) -> LayerKind | None:
    """The kind of a layer or of the nearest class that it derives from, whatever its own forward pass."""
    module = type(layer)
    if module not in _NEAREST:
        _NEAREST[module] = next((_BY_TYPE[base] for base in module.__mro__ if base in _BY_TYPE), None)
    return _NEAREST[module]


def kind_of(layer: nn.Module) -> LayerKind | None:
    """The kind of a layer that has the forward pass of its kind; None for a class with another one, or another call."""
    module = type(layer)
    for base in module.__mro__:
        if base in _BY_TYPE:
            is_as_its_kind = forward_of(module) is _FORWARD[base] and module.__call__ is nn.Module.__call__
            return _BY_TYPE[base] if is_as_its_kind else None
    return None


def forward_of(module: type[nn.Module]) -> Any:
    """The forward of a class; None of scripted ones, whose modules have one each."""
    return getattr(module, "forward", None)


def nearest_weight(layer: nn.Module) -> Weight | None:
    """What the nearest kind of a layer says of its weight."""
    kind = nearest_kind(layer)
    return None if kind is None else kind.weight


def how_weight_is_computed(layer: nn.Module) -> str | None:
    """What computes the weight of a layer of a known kind from other parameters; None where it is one itself."""
    if nearest_weight(layer) is None or "weight" in layer._parameters:
        return None
    if is_parametrized(layer, "weight"):
        return "a parametrisation"
    if any(name.startswith("weight_") for name in layer._parameters):
        return "a hook of pruning, or of the older weight_norm or spectral_norm"
    return None


def is_silent(module: nn.Module) -> bool:
    """Whether a module is known to have no buffers and to draw no random numbers."""
    kind = _BY_TYPE.get(type(module))  # a subclass may do what it likes
    return kind is not None and kind.is_silent and not module._buffers  # pruning and older norms bring some


def is_unit_by_unit(layer: nn.Module) -> bool:
    """Whether every output of a layer comes of the one input in its place."""
    kind = nearest_kind(layer)
    return kind is not None and kind.is_unit_by_unit


def has_neurons(layer: nn.Module) -> bool:
    """Whether a layer has neurons that can be taught one by one: linear, convolutional, locally connected."""
    weight = nearest_weight(layer)
    return weight is not None and weight.neurons is not None


def has_filters(layer: nn.Module) -> bool:
    """Whether a layer has neurons, each with weights that are one slice of the layer's: no transposed convolution."""
    weight = nearest_weight(layer)
    return weight is not None and weight.neurons is not None and weight.matrices is not None


def neurons(layer: nn.Module) -> int:
    """How many neurons a layer has that `has_neurons`: units, or channels."""
    return _neurons(layer).count(layer)


def neuron_axis(layer: nn.Module) -> int:
    """The axis of a layer's output along which its neurons lie: −1 if linear, 1 for channels."""
    return _neurons(layer).axis


def features_axis(layer: nn.Module) -> int | None:
    """The axis of a layer's output along which its features lie: −1 of a linear layer or a table, 1 for channels.

    None where the layer's kind does not say.
    """
    kind = nearest_kind(layer)
    if kind is None or kind.weight is None:
        return (
            -1 if kind is not None and isinstance(kind.feedback, Exact) and kind.feedback.is_table else None
        )
    return kind.weight.axis if kind.weight.neurons is None else kind.weight.neurons.axis


def shares_weights(layer: nn.Module) -> bool:
    """Whether a neuron has the same weights at all positions; not so where it is locally connected."""
    return _neurons(layer).share_weights


def positions_sharing(layer: nn.Module, output: Tensor) -> int:
    """At how many places of an example a weight is used.

    Args:
        layer: one that `has_neurons`.
        output: what it gave, ``(batch, …)``.
    """
    if not shares_weights(layer):
        return 1
    axis = neuron_axis(layer) % output.dim()
    return torch.Size(size for place, size in enumerate(output.shape) if place not in (0, axis)).numel()


def incoming_axes(layer: Any) -> tuple[int, ...]:
    """The axes of a layer's weight that lead through the inputs of one neuron, of a layer that `has_filters`."""
    weight = nearest_weight(layer)
    assert weight is not None
    assert weight.matrices is not None
    return weight.matrices.layout.incoming(layer.weight)


def stacked(layer: nn.Module, name: str) -> int:
    """How many matrices lie one above another in a parameter of a layer that is not its ``weight``."""
    kind = nearest_kind(layer)
    return 1 if kind is None else kind.stacked(layer, name)


def input_shape(layer: nn.Module) -> tuple[int, ...] | None:
    """The shape of one example that a layer takes; None where it takes several, as convolutions do."""
    weight = nearest_weight(layer)
    return None if weight is None or weight.input_shape is None else weight.input_shape(layer)


def _neurons(layer: nn.Module) -> Neurons:
    weight = nearest_weight(layer)
    assert weight is not None
    assert weight.neurons is not None
    return weight.neurons


for _kind in (
    *WEIGHT_LAYERS,
    *EXACT_LAYERS,
    *SHAPE_LAYERS,
    *NONLINEARITIES,
    *RECURRENT_LAYERS,
    ATTENTION,
    *OPAQUE_MODULES,
):
    enter(_kind)
