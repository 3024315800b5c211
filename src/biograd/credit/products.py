"""Functions that sum products over units: what makes a weight, or a constant matrix, carry errors."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from biograd.credit.kinds import PARSERS
from biograd.credit.structures import tensors_in

_NAMES = frozenset(
    {
        *("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "dot", "inner", "einsum", "tensordot"),
        *("addmm", "addmm_", "addmv", "addmv_", "addbmm", "addbmm_", "baddbmm", "baddbmm_", "chain_matmul"),
        *("linalg_multi_dot", "linalg_matmul", "linalg_vecdot", "vecdot", "linalg_solve", "bilinear"),
        *("linear", "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d"),
        *("conv_transpose3d", "_addmm_activation", "scaled_dot_product_attention"),
    }
)
_ADDS_FIRST = frozenset({"addmm", "addmm_", "addmv", "addmv_", "addbmm", "addbmm_", "baddbmm", "baddbmm_"})
_ELEMENTWISE = frozenset({"mul", "__mul__", "__rmul__", "multiply", "div", "__truediv__", "divide"})


def is_product(func: Callable[..., Any]) -> bool:
    """Whether a function, as a torch-function mode sees it, sums products."""
    return func in PARSERS or _name(func) in _NAMES


def is_spread_product(func: Callable[..., Any], of: Tensor, result: Any) -> bool:
    """Whether a product element by element spreads an activation over more places: a sum over them is one of matrices.

    Args:
        func: the function.
        of: the activation.
        result: what the function gave.
    """
    return _name(func) in _ELEMENTWISE and isinstance(result, Tensor) and result.shape != of.shape


def factors(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors that a product multiplies: neither what is added to it nor a mask of attention."""
    if _name(func) in _ADDS_FIRST:
        args, kwargs = args[1:], {name: value for name, value in kwargs.items() if name != "input"}
    if _name(func) == "scaled_dot_product_attention":
        args, kwargs = args[:3], {name: value for name, value in kwargs.items() if name != "attn_mask"}
    return list(tensors_in((args, kwargs)))


def _name(func: Callable[..., Any]) -> str:
    return getattr(func, "__name__", "").partition(".")[0]  # operators are called mm.default


class ProductsWithWeights(TorchFunctionMode):
    """A context that counts the products of activations with weights, or with what is computed of weights alone.

    Args:
        layers: what runs inside; what is computed of neither their parameters nor their buffers alone is an activation.

    Attributes:
        count: so far.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.count = 0
        modules = list(layers)
        self._weights: set[Tensor] = {tensor for module in modules for tensor in module.parameters()}
        self._constants = {tensor for module in modules for tensor in module.buffers()}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let the function run, and see what went in."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = list(tensors_in((args, kwargs)))
        # what learns and is held in no module, in a list say, is a weight too: activations have no graph here
        weights = [tensor for tensor in given if tensor in self._weights or tensor.requires_grad]
        known = {*self._weights, *self._constants, *weights}
        active = [tensor for tensor in given if tensor not in known]
        if active and any(weight.dim() >= 2 for weight in weights):
            activation = max(active, key=Tensor.numel)
            self.count += is_product(func) or is_spread_product(func, activation, result)
        elif given and not active:
            (self._weights if weights else self._constants).update(tensors_in(result))
        return result
