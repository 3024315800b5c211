"""What is said of a kind of layer: everything that blocks, feedback paths, inverses and decoders ask about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from biograd.credit.calls import Call
from biograd.credit.kinds.bijections import Bijection
from biograd.credit.kinds.slopes import Slope
from biograd.layers.weight_layout import WeightLayout

Place = Literal["opens", "leads", "closes", "follows"]
"""Where a layer stands in a block: opens it; belongs to the block after it; is a normalisation of the block before it;
or is anything else of the block before it, as a nonlinearity or a pooling is."""

Mirror = Callable[[Any, int, torch.Size, torch.Size], list[nn.Module]]
"""``(layer, channels, into, out)`` gives the layer transposed, with new weights and a bias, first, and what cuts its
output to size behind it. It takes ``channels`` channels, or units, in the shape ``out`` of the layer's output for one
example, to the shape ``into`` of the layer's input."""

Undo = Callable[[Any, torch.Size, torch.Size], list[nn.Module]]
"""``(layer, before, after)`` gives what leads from the shape behind a layer for one example to that before it."""


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """How the neurons of a layer are counted.

    Attributes:
        axis: of the output, along which they lie.
        count: of a layer, how many there are.
        share_weights: whether a neuron has the same weights at all positions.
    """

    axis: int
    count: Callable[[Any], int]
    share_weights: bool = True


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """How a weight is read as matrices that take patches of the input to the outputs at one place.

    Attributes:
        layout: which axis of the weight is what.
        arguments: of a layer, what its function takes behind input, weight and bias.
        multiplies_rows: whether the layer is a product with its one matrix along the last axis of the input, and
            nothing else.
        why_not: of a layer, what its function does beside, if its weight has no such matrices all the same; else None.
    """

    layout: WeightLayout
    arguments: Callable[[Any], tuple[Any, ...]] = lambda layer: ()
    multiplies_rows: bool = False
    why_not: Callable[[Any], str | None] = lambda layer: None


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What a layer does with its ``weight``, through which errors travel back; its ``bias`` is only added.

    Attributes:
        function: what the layer calls with input, weight and bias; torch-function modes see it.
        parse: takes a call of the function apart.
        neurons: how they are counted; None where one has no weights of its own.
        axis: of the output, along which its features lie; that of the neurons unless given.
        matrices: how the weight is read; None where it cannot be.
        mirror: makes the transposed layer; None where there is none.
        input_shape: of a layer, the shape of one example that it takes; None where the layer does not fix it.
    """

    function: Callable[..., Tensor]
    parse: Callable[..., Call]
    neurons: Neurons | None = None
    axis: int | None = None
    matrices: Matrices | None = None
    mirror: Mirror | None = None
    input_shape: Callable[[Any], tuple[int, ...]] | None = None


@dataclass(frozen=True, kw_only=True)
class Exact:
    """Parameters through which no error travels back, or that keep their exact derivative.

    Attributes:
        functions: that may use a parameter as it is.
        nodes: what autograd calls them, without ``Backward0``.
        is_table: whether the weight is looked up, and is exact only there.
        carries: of the arguments of a call, whether errors travel back through the parameter all the same.
    """

    functions: tuple[Callable[..., Tensor], ...] = ()
    nodes: tuple[str, ...] = ()
    is_table: bool = False
    carries: Callable[[tuple[Any, ...], Mapping[str, Any]], bool] = lambda args, kwargs: False


@dataclass(frozen=True)
class Opaque:
    """Weights that a feedback path cannot reach.

    Attributes:
        reason: why, for messages.
    """

    reason: str


class WrittenOutCall(Protocol):
    """A call of a function that hides its products with weights, taken apart."""

    @property
    def weights(self) -> Sequence[Tensor]:
        """The matrices that it multiplies by."""
        ...

    def run(self, product: Callable[[Tensor, Tensor, Tensor | None], Tensor], /) -> Any:
        """What the function gives, to rounding; every product with a weight is one of input, weight and bias."""
        ...


@dataclass(frozen=True)
class WrittenOut:
    """Weights whose products lie inside functions that no mode sees into.

    Attributes:
        parsers: each such function with what takes its arguments apart.
    """

    parsers: Mapping[Callable[..., Any], Callable[..., WrittenOutCall]]


@dataclass(frozen=True, kw_only=True)
class LayerKind:
    """One kind of layer.

    Attributes:
        types: its modules. A subclass of one is of this kind too, where nothing depends on its forward pass.
        place: in a block.
        is_silent: whether its modules, these types exactly, have no buffers and draw no random numbers.
        is_unit_by_unit: whether every output comes of the one input in its place.
        keeps_range: whether its outputs lie in the range that its inputs lie in.
        weight: what it does with a weight.
        feedback: how a feedback path treats its parameters, if not by what ``weight`` says.
        undo: makes what undoes it in a decoder, where it leads a block and changes shapes.
        nonlinearity: of a layer, a module of its own that ends a decoder whose outputs lie in its range.
        stacked: of a layer and the name of a parameter beside its ``weight``, how many matrices lie in it one above the
            other.
        bijection: of a layer and a margin, its inverse unit by unit, if it has one; see
            `biograd.credit.back.invertible_blocks.bijection`.
        slope: its derivative unit by unit, where what it gave tells that.
    """

    types: tuple[type[nn.Module], ...]
    place: Place = "follows"
    is_silent: bool = False
    is_unit_by_unit: bool = False
    keeps_range: bool = False
    weight: Weight | None = None
    feedback: Exact | Opaque | WrittenOut | None = None
    undo: Undo | None = None
    nonlinearity: Callable[[Any], nn.Module] | None = None
    stacked: Callable[[Any, str], int] = lambda layer, name: 1
    bijection: Callable[[Any, float], Bijection | None] | None = None
    slope: Slope | None = None


def by_dimension(*names: str) -> tuple[type[nn.Module], ...]:
    """The modules of ``torch.nn`` of these names for one, two and three dimensions."""
    return tuple(getattr(nn, f"{name}{n}d") for name in names for n in (1, 2, 3))
