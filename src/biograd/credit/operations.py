"""The weight operations whose backward can be handed another weight: what every feedback path is made of.

Each operation knows its forward, bit for bit PyTorch's own, and its three gradients, where the weight that
carries the error back is an argument of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from biograd.layers import (
    Geometry,
    locally_connected1d,
    locally_connected2d,
    locally_connected3d,
    locally_connected_backward,
    locally_connected_transpose1d,
    locally_connected_transpose2d,
    locally_connected_transpose3d,
    locally_connected_transpose_backward,
)


class Signed(NamedTuple):
    """A feedback weight ``sign(W) ∘ |M|`` that is made when an error comes back, and not kept.

    Attributes:
        magnitude: ``|M|``, in the weight's shape or a scalar.
    """

    magnitude: Tensor


class Following(NamedTuple):
    """A feedback weight that is taught what its weight is: autograd brings it the same gradient of every product.

    Attributes:
        matrix: a leaf that requires gradients, in the weight's shape.
    """

    matrix: Tensor


class Lent(NamedTuple):
    """A feedback weight that carries errors while it is lent; at all other times the weight itself does.

    Attributes:
        matrix: gives it while it is lent, in the weight's shape, and else None.
    """

    matrix: Callable[[], Tensor | None]


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
Needs = Sequence[bool]

_NO_BIAS = torch.Size()


class Operation(Protocol):
    """A product of inputs with a weight, and its gradients.

    Attributes:
        needs_input: whether the backward needs the input even where the weight is not taught.
    """

    needs_input: ClassVar[bool]

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The operation itself."""
        ...

    def backward(
        self, grad: Tensor, x: Any, feedback: Tensor, needs: Needs, magnitude: Tensor | None = None
    ) -> Gradients:
        """Gradients for the input (through ``feedback``, in the weight's shape), the weight and the bias.

        Args:
            grad: gradient of the output, in the output's shape.
            x: the input of the forward; None where it is not needed.
            feedback: the weight that carries errors back; the exact gradient where it is the weight itself.
            needs: which of the three are wanted; the others come back as None.
            magnitude: where given, the error goes back through ``sign(feedback) ∘ magnitude``.
        """
        ...


def signed(weight: Tensor, magnitude: Tensor | None) -> Tensor:
    """``sign(weight) ∘ magnitude``; the weight itself without magnitude."""
    return weight if magnitude is None else torch.copysign(magnitude, weight)


@dataclass(frozen=True)
class Linear:
    """``x Wᵀ + b`` for any leading shape: x ``(…, in)``, weight ``(out, in)``."""

    needs_input: ClassVar[bool] = False

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The output, ``(…, out)``."""
        return F.linear(x, weight, bias)

    def backward(
        self, grad: Tensor, x: Any, feedback: Tensor, needs: Needs, magnitude: Tensor | None = None
    ) -> Gradients:
        """See `Operation.backward`."""
        rows = _rows(grad)  # (examples, out)
        grad_bias = rows.sum(0) if needs[2] else None
        # ΔW = δᵀ x
        grad_weight = torch.mm(rows.t(), _rows(x)) if needs[1] else None
        # δ B, which comes last, so that the layer below finds it in the cache
        grad_x = _through(grad, feedback, magnitude) if needs[0] else None
        return grad_x, grad_weight, grad_bias


@dataclass(frozen=True)
class RowProduct:
    """``x W + b``: x ``(…, in)`` or ``(in,)``, weight ``(…, in, out)``; dimensions in front are broadcast.

    Attributes:
        multiply: the function of PyTorch's that the net calls, of x and weight; `torch.addmm` where it has a bias.
        input_shape: of x.
        bias_shape: of the bias, which may be one for every row.
    """

    needs_input: ClassVar[bool] = False
    multiply: Callable[[Tensor, Tensor], Tensor]
    input_shape: torch.Size
    bias_shape: torch.Size = _NO_BIAS

    @property
    def fan_in(self) -> int:
        """How many entries of x each output sums over."""
        return self.input_shape[-1]

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The output, ``(…, out)``."""
        return self.multiply(x, weight) if bias is None else torch.addmm(bias, x, weight)

    def backward(
        self, grad: Tensor, x: Any, feedback: Tensor, needs: Needs, magnitude: Tensor | None = None
    ) -> Gradients:
        """See `Operation.backward`."""
        is_row = len(self.input_shape) == 1
        errors = grad.unsqueeze(-2) if is_row else grad  # (…, n, out)
        grad_weight = None
        if needs[1]:
            # ΔW = xᵀ δ
            grad_weight = _product_of_columns(x.unsqueeze(0) if is_row else x, errors, feedback.shape)
        # δ Bᵀ
        grad_x = errors @ signed(feedback, magnitude).mT if needs[0] else None
        if grad_x is not None:
            grad_x = _summed_to(self.input_shape, grad_x.squeeze(-2) if is_row else grad_x)
        return grad_x, grad_weight, _summed_to(self.bias_shape, grad) if needs[2] else None


@dataclass(frozen=True)
class ColumnProduct:
    """``W x + b``: x ``(…, in, n)`` or ``(in,)``, weight ``(…, out, in)``; dimensions in front are broadcast.

    Attributes:
        multiply: the function of PyTorch's that the net calls, of weight and x; `torch.addmm` where it has a bias.
        input_shape: of x.
        bias_shape: of the bias, which may be one for every row.
    """

    needs_input: ClassVar[bool] = False
    multiply: Callable[[Tensor, Tensor], Tensor]
    input_shape: torch.Size
    bias_shape: torch.Size = _NO_BIAS

    @property
    def fan_in(self) -> int:
        """How many entries of x each output sums over."""
        return self.input_shape[-2] if len(self.input_shape) > 1 else self.input_shape[0]

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The output, ``(…, out, n)``."""
        return self.multiply(weight, x) if bias is None else torch.addmm(bias, weight, x)

    def backward(
        self, grad: Tensor, x: Any, feedback: Tensor, needs: Needs, magnitude: Tensor | None = None
    ) -> Gradients:
        """See `Operation.backward`."""
        is_column = len(self.input_shape) == 1
        errors = grad.unsqueeze(-1) if is_column else grad  # (…, out, n)
        grad_weight = None
        if needs[1]:
            # ΔW = δ xᵀ
            columns = x.unsqueeze(-1) if is_column else x
            grad_weight = _product_of_columns(errors.mT, columns.mT, feedback.shape)
        # Bᵀ δ
        grad_x = signed(feedback, magnitude).mT @ errors if needs[0] else None
        if grad_x is not None:
            grad_x = _summed_to(self.input_shape, grad_x.squeeze(-1) if is_column else grad_x)
        return grad_x, grad_weight, _summed_to(self.bias_shape, grad) if needs[2] else None


def _product_of_columns(a: Tensor, b: Tensor, shape: torch.Size) -> Tensor:
    """``aᵀ b`` in the shape of a weight, summed over the dimensions that it has not."""
    if len(shape) == 2:
        return a.reshape(-1, a.shape[-1]).t() @ b.reshape(-1, b.shape[-1])
    return _summed_to(shape, a.mT @ b)


def _summed_to(shape: torch.Size, grad: Tensor) -> Tensor:
    """The gradient of what was broadcast from this shape."""
    return grad if grad.shape == shape else grad.sum_to_size(shape)


def _rows(x: Tensor) -> Tensor:
    """Vectors one under another; most are so already."""
    return x if x.dim() == 2 else x.reshape(-1, x.shape[-1])


_ROWS = 256


def _through(grad: Tensor, weight: Tensor, magnitude: Tensor | None) -> Tensor:
    """``grad @ signed(weight, magnitude)``, made some rows at a time so that they stay in the cache."""
    if magnitude is None:
        return grad @ weight
    if len(weight) <= _ROWS:
        return grad @ signed(weight, magnitude)
    errors = grad.reshape(-1, grad.shape[-1])
    carried = errors.new_zeros(len(errors), weight.shape[1])
    buffer = weight.new_empty(_ROWS, weight.shape[1])
    for start in range(0, len(weight), _ROWS):
        rows = slice(start, start + _ROWS)
        size = magnitude if magnitude.dim() == 0 else magnitude[rows]
        B = torch.copysign(size, weight[rows], out=buffer[: len(weight[rows])])
        carried.addmm_(errors[:, rows], B)
    return carried.view(*grad.shape[:-1], weight.shape[1])


@dataclass(frozen=True)
class Convolution:
    """A convolution over one to three dimensions, plain or transposed, as ``torch.convolution`` takes it."""

    needs_input: ClassVar[bool] = True
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The output for a batch ``(batch, channels, …)``."""
        if torch.is_autocast_enabled(x.device.type):  # which casts for conv2d, not for torch.convolution
            weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
        return torch.convolution(
            x,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
        )

    def backward(
        self, grad: Tensor, x: Any, feedback: Tensor, needs: Needs, magnitude: Tensor | None = None
    ) -> Gradients:
        """See `Operation.backward`."""
        return torch.ops.aten.convolution_backward(
            grad,
            x,
            signed(feedback, magnitude) if needs[0] else feedback,
            [grad.shape[1]],
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
            list(needs),
        )


_LOCALLY_CONNECTED = {1: locally_connected1d, 2: locally_connected2d, 3: locally_connected3d}
_TRANSPOSES = {
    1: locally_connected_transpose1d,
    2: locally_connected_transpose2d,
    3: locally_connected_transpose3d,
}


@dataclass(frozen=True)
class LocallyConnected:
    """A locally connected layer over one to three dimensions: a filter of its own at every position."""

    needs_input: ClassVar[bool] = True
    dimensions: int
    stride: Any
    padding: Any
    dilation: Any
    groups: int

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The output for a batch ``(batch, channels, *size)``."""
        function = _LOCALLY_CONNECTED[self.dimensions]
        return function(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def backward(
        self, grad: Tensor, x: Any, feedback: Tensor, needs: Needs, magnitude: Tensor | None = None
    ) -> Gradients:
        """See `Operation.backward`."""
        geometry = Geometry.of(feedback, self.stride, self.padding, self.dilation, self.groups)
        grad_x, grad_weight = locally_connected_backward(
            grad, x, signed(feedback, magnitude), geometry, need_input=needs[0], need_weight=needs[1]
        )
        return grad_x, grad_weight, grad.sum(0) if needs[2] else None


@dataclass(frozen=True)
class LocallyConnectedTranspose:
    """The transpose of a locally connected layer: a filter of its own at every input position."""

    needs_input: ClassVar[bool] = True
    dimensions: int
    output_size: Any
    stride: Any
    padding: Any
    dilation: Any
    groups: int

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The output for a batch ``(batch, channels, *size)``."""
        function = _TRANSPOSES[self.dimensions]
        return function(
            x, weight, bias, self.output_size, self.stride, self.padding, self.dilation, self.groups
        )

    def backward(
        self, grad: Tensor, x: Any, feedback: Tensor, needs: Needs, magnitude: Tensor | None = None
    ) -> Gradients:
        """See `Operation.backward`."""
        geometry = Geometry.of(feedback, self.stride, self.padding, self.dilation, self.groups)
        grad_x, grad_weight = locally_connected_transpose_backward(
            grad, x, signed(feedback, magnitude), geometry, need_input=needs[0], need_weight=needs[1]
        )
        return grad_x, grad_weight, grad.sum(0) if needs[2] else None
