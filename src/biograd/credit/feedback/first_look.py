"""What a net does with what is no weight matrix: products of activations with vectors and with constants.

Errors would travel back through these exactly, and nothing about the tensors themselves says so. It shows when one
knows which tensors are activations. To know that costs a little at every function call, so a rule looks at its first
call alone.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from biograd.credit.feedback.forms import Form, is_form
from biograd.credit.feedback.unrolled import UNROLLED, Under
from biograd.credit.feedback.weight_uses import is_join, is_sum, name_of, scales
from biograd.credit.kinds import PARSERS
from biograd.credit.products import factors, is_product, is_spread_product
from biograd.credit.structures import tensors_in


class _Origin(NamedTuple):
    """What a tensor was computed of, if not of the input; of several things the one of the lowest rank.

    Attributes:
        rank: 0 of a parameter, 2 of a buffer, and one more where the user lets errors through it exactly.
        name: of the parameter or buffer.
    """

    rank: int
    name: str

    @property
    def is_exact(self) -> bool:
        """Whether the user let errors through it."""
        return self.rank % 2 == 1

    @property
    def is_of_parameters(self) -> bool:
        """Whether a parameter is among what it was computed of."""
        return self.rank < 2


_CONSTANT = _Origin(4, "")


class FirstLook(TorchFunctionMode):
    """A context that records products of activations, through which errors travel, with constants and with vectors.

    Vectors are parameters of one dimension, and all that is computed of parameters alone; constants what is computed of
    neither parameters nor the input. Gains, offsets and normalisations are no such products.

    Args:
        net: the net that runs inside.
        x: its input.
        exact: identities of tensors that the user lets errors through exactly.
        taught: weights, and what is made of them, that a feedback path watches itself.
        offsets: receives those of them that are added to an activation, put beside it or scale it.

    Attributes:
        found: what is multiplied by, to the function that does it.
        constants: those of them that have no name, which ``exact`` would need.
    """

    def __init__(
        self,
        net: nn.Module,
        x: Any,
        exact: Collection[int],
        taught: Mapping[Tensor, Form],
        offsets: dict[Tensor, None],
    ) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.constants: dict[str, str] = {}
        self._taught, self._offsets = taught, offsets
        self._activations = WeakTensorKeyDictionary(dict.fromkeys(tensors_in(x)))  # they may be let go of
        self._origin = {
            tensor: _Origin(2 * rank + (id(tensor) in exact), name)
            for rank, named in enumerate((net.named_parameters(), net.named_buffers()))
            for name, tensor in named
        }

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let the function run, and see what went in."""
        kwargs = kwargs or {}
        if func in UNROLLED:
            with Under(self):
                return UNROLLED[func](*args, **kwargs)
        given = list(tensors_in((args, kwargs)))
        active = [tensor for tensor in given if self._is_activation(tensor)]
        if active and (is_sum(func) or is_join(func) or scales(func)):
            self._offsets.update(dict.fromkeys(tensor for tensor in given if tensor in self._taught))
        becomes_active = self._takes_what_is_given(func, args, given)
        result = func(*args, **kwargs)
        made = list(tensors_in(result))
        if not active and not becomes_active:
            origins = [self._origin[tensor] for tensor in given if tensor in self._origin]
            self._origin.update((tensor, min(origins)) for tensor in made if origins)
            return result
        self._activations.update(dict.fromkeys(made))
        carrying = [tensor for tensor in active if tensor.requires_grad]
        if carrying and func not in PARSERS and any(tensor.requires_grad for tensor in made):
            self._look(func, factors(func, args, kwargs), max(carrying, key=Tensor.numel), result)
        return result

    def _takes_what_is_given(self, func: Any, args: tuple[Any, ...], given: list[Tensor]) -> bool:
        """Whether a function does more than move what every example was given of a weight, a token say."""
        forms = [(tensor, self._taught[tensor]) for tensor in given if tensor in self._taught]
        return any(form.is_given and not is_form(func, tensor, args) for tensor, form in forms)

    def _look(self, func: Any, given: list[Tensor], carrying: Tensor, result: Any) -> None:
        """Record a product of an activation with what is none."""
        for other in given:
            if self._is_activation(other) or other in self._taught or not other.is_floating_point():
                continue
            origin = self._origin.get(other, _CONSTANT)
            mixes = origin.is_of_parameters and is_spread_product(func, carrying, result)
            if origin.is_exact or not (mixes or is_product(func)):
                continue
            if origin is _CONSTANT:
                self.constants.setdefault(f"a constant of shape {tuple(other.shape)}", name_of(func))
            else:
                self.found.setdefault(origin.name, name_of(func))

    def _is_activation(self, tensor: Tensor) -> bool:
        """Whether it was computed of the input; also by a custom or scripted function, which no mode sees."""
        return tensor in self._activations or (tensor.grad_fn is not None and tensor not in self._origin)
