"""Functions that sum products over units: what makes a weight, or a constant matrix, carry errors."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from biograd.credit.graph import tensors_in
from biograd.credit.kinds import PARSERS

_NAMES = frozenset(
    {
        *("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "dot", "inner", "einsum", "tensordot"),
        *("addmm", "addmm_", "addmv", "addmv_", "addbmm", "addbmm_", "baddbmm", "baddbmm_", "chain_matmul"),
        *("linalg_multi_dot", "linalg_matmul", "linalg_vecdot", "vecdot", "linalg_solve", "bilinear"),
        *("linear", "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d"),
        *("conv_transpose3d", "_addmm_activation", "scaled_dot_product_attention"),
    }
)
_ELEMENTWISE = frozenset({"mul", "__mul__", "__rmul__", "multiply", "div", "__truediv__", "divide"})


def is_product(func: Callable[..., Any], of: Tensor, result: Any) -> bool:
    """Whether a function of an activation and another tensor sums their products, or will have them summed.

    A product element by element counts where it spreads the activation over more places, since a sum over those makes
    it a product of matrices; a gain does not.

    Args:
        func: the function, as a torch-function mode sees it.
        of: the activation.
        result: what the function gave.
    """
    name = getattr(func, "__name__", "").partition(".")[0]  # operators are called mm.default
    if func in PARSERS or name in _NAMES:
        return True
    return name in _ELEMENTWISE and isinstance(result, Tensor) and result.shape != of.shape


class ProductsWithWeights(TorchFunctionMode):
    """A context that counts the products of activations with weights, or with what is computed of weights alone.

    Args:
        x: the input of what runs inside; activations are what is computed of it.
        weights: the parameters of what runs inside.

    Attributes:
        count: so far.
    """

    def __init__(self, x: Tensor, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.count = 0
        self._activations, self._weights = {x}, set(weights)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let the function run, and see what went in."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = list(tensors_in((args, kwargs)))
        active = next((tensor for tensor in given if tensor in self._activations), None)
        weights = [tensor for tensor in given if tensor in self._weights and tensor not in self._activations]
        if active is not None:
            self.count += any(weight.dim() >= 2 for weight in weights) and is_product(func, active, result)
            self._activations.update(tensors_in(result))
        elif weights:
            self._weights.update(tensors_in(result))
        return result
