"""The arithmetic of a locally connected layer as three operators of PyTorch.

``torch.compile`` and ``torch.export`` take each as one step instead of unrolling its loop over positions. They have no
derivatives of their own: `products` has them. They run by rows of positions (`rows`), or position by position where
that is faster (`by_position`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from biograd.layers.local import by_position, rows
from biograd.layers.local.geometry import Geometry
from biograd.layers.local.memory import batch_last, empty, fill, new_map, pad, unpad, windows

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
    output = new_map((len(x), w.shape[5], *w.shape[:2]), x, batch_last=True)
    by = by_position if by_position.is_faster(x, w, len(x), shape) else rows
    by.product(x, w, bias, shape, out=output.permute(2, 3, 1, 0))
    return output


@torch.library.impl("biograd::locally_connected_input_gradient", "CompositeExplicitAutograd")
@torch.no_grad()
def input_gradient(g: Tensor, w: Tensor, geometry: Sequence[int], size: Sequence[int], last: bool) -> Tensor:
    """Derivative by the input of height and width ``size``; ``last``: its memory has the batch last."""
    shape, w = Geometry.unpack(geometry), w.contiguous()
    left, right, top, bottom = shape.padding
    height, width, channels = size[0] + top + bottom, size[1] + left + right, w.shape[4] * shape.groups
    gradient = g.new_zeros(height, width, channels, len(g))
    by = by_position if by_position.is_faster(g, w, len(g), shape) else rows
    by.add_input_gradient(batch_last(g), w, shape, to=windows(gradient, shape))
    return fill(new_map((len(g), channels, *size), g, last), unpad(gradient, shape))


@torch.library.impl("biograd::locally_connected_weight_gradient", "CompositeExplicitAutograd")
@torch.no_grad()
def weight_gradient(g: Tensor, x: Tensor, geometry: Sequence[int]) -> Tensor:
    """Derivative by the filters."""
    shape = Geometry.unpack(geometry)
    gradient = empty((*g.shape[2:], *shape.kernel, x.shape[1] // shape.groups, g.shape[1]), like=x)
    by = by_position if by_position.is_faster(x, gradient, len(x), shape) else rows
    by.weight_gradient(windows(pad(batch_last(x), shape), shape), batch_last(g), shape, out=gradient)
    return gradient


@torch.library.register_fake("biograd::locally_connected_product")
def _(x: Tensor, w: Tensor, bias: Tensor | None, geometry: Sequence[int]) -> Tensor:
    return new_map((len(x), w.shape[5], *w.shape[:2]), x, batch_last=True)


@torch.library.register_fake("biograd::locally_connected_input_gradient")
def _(g: Tensor, w: Tensor, geometry: Sequence[int], size: Sequence[int], last: bool) -> Tensor:
    return new_map((len(g), w.shape[4] * Geometry.unpack(geometry).groups, *size), g, last)


@torch.library.register_fake("biograd::locally_connected_weight_gradient")
def _(g: Tensor, x: Tensor, geometry: Sequence[int]) -> Tensor:
    shape = Geometry.unpack(geometry)
    return x.new_empty(*g.shape[2:], *shape.kernel, x.shape[1] // shape.groups, g.shape[1])
