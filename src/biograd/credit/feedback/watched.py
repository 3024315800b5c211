"""The weights that a feedback path watches, and what a net makes of them on the way to a product."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from biograd.credit.feedback.forms import Form, as_it_is, computed, formed, is_form
from biograd.credit.feedback.weight_uses import is_gain, is_harmless, is_still_a_weight, takes_a_form
from biograd.credit.graph import nodes_below
from biograd.credit.structures import SEQUENCES, tensors_in


class WatchedWeights:
    """What must not be used outside a path: weights, and what was made of them.

    Args:
        weights: all of them.
        names: of weights, for messages.
        offsets: weights that are known to be added to activations: what comes of that is no weight.

    Attributes:
        forms: each of them to what it has of a weight.
        names: of weights.
        offsets: what is known to be added to activations.
    """

    def __init__(
        self, weights: Iterable[Tensor], names: Mapping[Tensor, str] | None, offsets: Collection[Tensor]
    ) -> None:
        self.names = dict(names or {})
        self.forms = {weight: as_it_is(weight) for weight in (*weights, *self.names)}
        self.offsets = dict.fromkeys(offsets)  # no set: a compiler takes none of tensors
        self._seen: set[Any] = set()  # nodes that use a weight and may, each of which was looked at

    def name(self, tensor: Tensor) -> str:
        """What messages call the weight that a tensor is, or was made of."""
        return self.names.get(self.forms[tensor].weight, "a weight")

    def add(self, weight: Tensor, name: str, *, is_offset: bool) -> None:
        """Watch a weight that was computed; whether it is added to activations is known before."""
        self.names[weight], self.forms[weight] = name, as_it_is(weight)
        if is_offset:
            self.offsets[weight] = None

    def among(self, values: Iterable[Any]) -> Iterator[Tensor]:
        """Those among values, and within lists and tuples of them."""
        for value in values:
            if isinstance(value, Tensor):
                if value in self.forms:
                    yield value
            elif isinstance(value, SEQUENCES):
                yield from self.among(value)

    def is_weight(self, tensor: Any) -> bool:
        """Whether it is a weight, or was made of one and not overwritten since."""
        if tensor not in self.forms:
            return False
        # a compiler shows no graph, and comes after a first look
        return torch.compiler.is_compiling() or tensor.grad_fn is None or tensor.grad_fn in self._seen

    def is_given(self, tensor: Tensor) -> bool:
        """Whether it is what every example was given of a weight: activity where it meets another one."""
        return self.forms[tensor].is_given

    def is_weight_beside(self, tensor: Tensor, other: Tensor) -> bool:
        """Whether it is the weight in a product with the other tensor."""
        return self.is_weight(tensor) and not (self.is_given(tensor) and self.is_weight(other))

    def may_use(self, values: Any, below: Collection[Any] = ()) -> None:
        """Note that the nodes that made the tensors among values, down to some below, may use weights."""
        if not torch.compiler.is_compiling():  # a rule looks at a net before it lets a compiler trace it
            self._seen.update(nodes_below(values, below))

    def may_be_used_by(self, node: Any) -> bool:
        """Whether a node was noted by `may_use`."""
        return node in self._seen

    def follow(self, func: Any, used: Tensor, args: tuple[Any, ...], kwargs: Any, result: Any) -> bool:
        """Watch what a function makes of a weight.

        Args:
            func: the function.
            used: one of those that are watched, among its arguments.
            args: of the function.
            kwargs: of the function.
            result: what it gave.

        Returns:
            Whether errors would travel back through the weight.
        """
        if takes_a_form(func, used, args):
            return False
        form = self.forms[used]
        if is_form(func, used, args):
            self._keep(formed(func, args, kwargs, form, result))
            return False
        made, carries = [tensor for tensor in tensors_in(result) if tensor is not used], False
        others = [t for t in tensors_in((args, kwargs)) if t not in self.forms and t.is_floating_point()]
        if is_harmless(func, args, kwargs) or (form.is_vector and is_gain(func, others, result)):
            made = made if self._makes_a_weight(func, used, others, result) else []
        elif others and torch.is_grad_enabled() and any(tensor.requires_grad for tensor in made):
            carries = True
            made = [] if any(other.grad_fn is not None for other in others) else made
        # numbers that carry no error are no weights
        kept = [tensor for tensor in made if tensor.dim() >= 2 or tensor.requires_grad]
        self._keep({tensor: computed(form, used, tensor) for tensor in kept})
        return carries

    def _makes_a_weight(self, func: Any, used: Tensor, others: list[Tensor], result: Any) -> bool:
        """Whether a function of a weight that may use it makes another weight, not an activation."""
        is_known = used in self.offsets or self.forms[used].weight in self.offsets
        return not is_known and is_still_a_weight(func, used, others, result)

    def _keep(self, forms: Mapping[Tensor, Form]) -> None:
        self.forms.update((t, f) for t, f in forms.items() if t not in self.forms and t.is_floating_point())
