"""Weights in other forms: the same numbers elsewhere, so that a feedback weight can take the same form.

A transpose, a slice, a part of a stack and a copy are such; so is a token that every example is given. What else is
computed of a weight has no feedback weight.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from biograd.credit.operations import Following, Lent, Signed
from biograd.credit.structures import tensors_in

_METHODS = (
    *("t", "transpose", "swapaxes", "swapdims", "permute", "movedim", "moveaxis", "adjoint"),
    *(
        "view",
        "reshape",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "contiguous",
        "clone",
        "detach",
        "ravel",
    ),
    *("__getitem__", "narrow", "select", "index_select", "flip", "roll", "diagonal"),
    *("chunk", "split", "tensor_split", "hsplit", "vsplit", "unbind", "unsafe_chunk", "unsafe_split"),
    *("expand", "expand_as", "repeat", "broadcast_to", "tile", "repeat_interleave"),
    *("to", "float", "double", "half", "bfloat16", "type_as", "reshape_as", "view_as"),
)
_SPREADING = ("expand", "expand_as", "repeat", "broadcast_to", "tile", "repeat_interleave")
_PICKING = ("__getitem__", "index_select")


def _functions(names: tuple[str, ...]) -> frozenset[Any]:
    """Methods of tensors of these names, and the functions of ``torch`` that are called so."""
    return frozenset(
        getattr(place, name) for name in names for place in (torch.Tensor, torch) if hasattr(place, name)
    )


_GETTERS: tuple[Any, ...] = (
    torch.Tensor.T,
    torch.Tensor.mT,
    torch.Tensor.H,
    torch.Tensor.mH,
    torch.Tensor.data,
)
FORMS = _functions(_METHODS) | {getter.__get__ for getter in _GETTERS}
"""The functions that move the entries of a tensor, and do nothing else with them."""

_SPREADS = _functions(_SPREADING)
_PICKS = _functions(_PICKING)


class _Step(NamedTuple):
    """One function that moves the entries of its first argument.

    Attributes:
        function: which.
        args: behind the first.
        kwargs: by name.
        place: of the result among several; None of the only one.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    place: int | None

    def of(self, value: Tensor) -> Tensor:
        """The same of another tensor."""
        result = self.function(value, *self.args, **self.kwargs)
        return result if self.place is None else result[self.place]


class Form(NamedTuple):
    """What a tensor has of a weight.

    Attributes:
        weight: itself, which a feedback path knows by name.
        steps: what gives the weight this form; None of what was computed of it otherwise, which has no feedback weight.
        is_given: whether it was spread over examples, or picked by an index: what goes into a layer then is
            activity, no other weight.
        is_vector: whether the weight is no larger than one of its dimensions, as gains are.
    """

    weight: Tensor
    steps: tuple[_Step, ...] | None = ()
    is_given: bool = False
    is_vector: bool = False

    def of(self, value: Tensor) -> Tensor:
        """Another tensor of the weight's shape in the form of this one, which must have steps."""
        for step in self.steps or ():
            value = step.of(value)
        return value

    def back(self, value: Tensor) -> Tensor:
        """A tensor in this form put back to where its entries come from: their mean, and 0 where there are none."""
        with torch.enable_grad():
            whole = torch.zeros_like(self.weight).requires_grad_()
            part = self.of(whole)
        both = [
            torch.autograd.grad(part, whole, put, retain_graph=True)[0]
            for put in (value, torch.ones_like(value))
        ]
        return both[0] / both[1].clamp_(min=1)


def as_it_is(weight: Tensor) -> Form:
    """The form of a weight itself."""
    return Form(weight, is_vector=_is_vector(weight))


def is_form(func: Any, used: Tensor, args: tuple[Any, ...]) -> bool:
    """Whether a function moves the entries of a weight that it is given first."""
    return func in FORMS and bool(args) and args[0] is used


def formed(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], form: Form, result: Any
) -> dict[Tensor, Form]:
    """The forms of what `is_form` makes of a tensor with a form."""
    if isinstance(result, Tensor):
        return {result: _next(func, args, kwargs, form, result, None)}
    return {part: _next(func, args, kwargs, form, part, place) for place, part in enumerate(result)}


def in_form(form: Form, feedback: Tensor | Signed | Following | Lent) -> Tensor | Signed | Following | Lent:
    """The feedback of a weight in the form that its weight is used in."""
    if not form.steps:
        return feedback
    if isinstance(feedback, Signed):
        return feedback if feedback.magnitude.dim() == 0 else Signed(form.of(feedback.magnitude))
    if isinstance(feedback, Following):
        return Following(form.of(feedback.matrix))
    if isinstance(feedback, Lent):
        return Lent(partial(_in_form_if_any, form, feedback.matrix))
    return form.of(feedback)


def _in_form_if_any(form: Form, matrix: Callable[[], Tensor | None]) -> Tensor | None:
    made = matrix()
    return None if made is None else form.of(made)


def _next(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], form: Form, made: Tensor, place: int | None
) -> Form:
    used = args[0]
    steps = None if form.steps is None else (*form.steps, _Step(func, args[1:], kwargs, place))
    is_given = form.is_given or _is_spread(func, used, made) or _is_picked(func, args, kwargs)
    return Form(form.weight, steps, is_given, form.is_vector)


def computed(form: Form, used: Tensor, made: Tensor) -> Form:
    """The form of what was computed otherwise of a tensor with a form."""
    return Form(form.weight, None, form.is_given, form.is_vector and made.shape == used.shape)


def _is_spread(func: Any, used: Tensor, made: Tensor) -> bool:
    """Whether it lies along another dimension, or along one in which there was one of it, as examples do."""
    return func in _SPREADS and (made.dim() > used.dim() or 1 in used.shape)


def _is_picked(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return func in _PICKS and any(not t.is_floating_point() for t in tensors_in((args[1:], kwargs)))


def _is_vector(tensor: Tensor) -> bool:
    return tensor.numel() <= max(tensor.shape, default=1)
