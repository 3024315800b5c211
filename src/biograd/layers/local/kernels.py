"""The arithmetic of a locally connected layer as three operators of PyTorch.

``torch.compile`` and ``torch.export`` take each as one step instead of unrolling its loop over positions. Their
derivatives are in `products`. They run by some positions at once (`together`), or position by position
where that is faster (`by_position`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from biograd.layers.local import by_position, together
from biograd.layers.local.geometry import Geometry
from biograd.layers.local.memory import batch_last, empty, fill, new_map, pad, positions_first, unpad, windows

torch.library.define(
    "biograd::locally_connected_product", "(Tensor x, Tensor w, Tensor? bias, int[] geometry) -> Tensor"
)
torch.library.define(
    "biograd::locally_connected_input_gradient",
    "(Tensor g, Tensor w, int[] geometry, SymInt[] size, bool last) -> Tensor",
)
torch.library.define(
    "biograd::locally_connected_weight_gradient", "(Tensor g, Tensor x, int[] geometry) -> Tensor"
)


OPERATORS = torch.ops.biograd
"""Where the three are called: ``OPERATORS.locally_connected_product(x, w, geometry)``."""


@torch.library.impl("biograd::locally_connected_product", "CompositeExplicitAutograd")
@torch.no_grad()
def product(x: Tensor, w: Tensor, bias: Tensor | None, geometry: Sequence[int]) -> Tensor:
    """Output of the input ``x``, filters ``w`` and bias; its memory has the batch last."""
    shape, w = Geometry.unpack(geometry), w.contiguous()
    output = new_map(_output_shape(x, w, shape), x, batch_last=True)
    by = by_position if by_position.is_faster(x, w, shape) else together
    by.product(x, w, bias, shape, out=positions_first(output))
    return output


@torch.library.impl("biograd::locally_connected_input_gradient", "CompositeExplicitAutograd")
@torch.no_grad()
def input_gradient(g: Tensor, w: Tensor, geometry: Sequence[int], size: Sequence[int], last: bool) -> Tensor:
    """Derivative by the input of a ``size``; ``last``: its memory has the batch last."""
    shape, w = Geometry.unpack(geometry), w.contiguous()
    before, after = shape.padding[-2::-2], shape.padding[::-2]
    padded = [sum(sides) for sides in zip(size, before, after, strict=True)]
    gradient = g.new_zeros(*padded, w.shape[-2] * shape.groups, len(g))
    by = by_position if by_position.is_faster(g, w, shape) else together
    by.add_input_gradient(batch_last(g), w, shape, to=windows(gradient, shape))
    return fill(new_map(_input_shape(g, w, shape, size), g, last), unpad(gradient, shape))


@torch.library.impl("biograd::locally_connected_weight_gradient", "CompositeExplicitAutograd")
@torch.no_grad()
def weight_gradient(g: Tensor, x: Tensor, geometry: Sequence[int]) -> Tensor:
    """Derivative by the filters."""
    shape = Geometry.unpack(geometry)
    gradient = empty(_weight_shape(g, x, shape), like=x)
    by = by_position if by_position.is_faster(x, gradient, shape) else together
    by.weight_gradient(windows(pad(batch_last(x), shape), shape), batch_last(g), shape, out=gradient)
    return gradient


@torch.library.register_fake("biograd::locally_connected_product")
def _(x: Tensor, w: Tensor, bias: Tensor | None, geometry: Sequence[int]) -> Tensor:
    return new_map(_output_shape(x, w, Geometry.unpack(geometry)), x, batch_last=True)


@torch.library.register_fake("biograd::locally_connected_input_gradient")
def _(g: Tensor, w: Tensor, geometry: Sequence[int], size: Sequence[int], last: bool) -> Tensor:
    return new_map(_input_shape(g, w, Geometry.unpack(geometry), size), g, last)


@torch.library.register_fake("biograd::locally_connected_weight_gradient")
def _(g: Tensor, x: Tensor, geometry: Sequence[int]) -> Tensor:
    return x.new_empty(_weight_shape(g, x, Geometry.unpack(geometry)))


def _output_shape(x: Tensor, w: Tensor, shape: Geometry) -> tuple[int, ...]:
    return len(x), w.shape[-1], *w.shape[: shape.dimensions]


def _input_shape(g: Tensor, w: Tensor, shape: Geometry, size: Sequence[int]) -> tuple[int, ...]:
    return len(g), w.shape[-2] * shape.groups, *size


def _weight_shape(g: Tensor, x: Tensor, shape: Geometry) -> tuple[int, ...]:
    return *g.shape[2:], *shape.kernel, x.shape[1] // shape.groups, g.shape[1]
