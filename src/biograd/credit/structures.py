"""Structures of tensors: the one place that knows what a net may take and give beside one tensor."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from biograd.errors import UnsupportedNet, UserMistake, brief, listed

SEQUENCES = (list, tuple)
"""What holds tensors one behind another, among arguments and results."""


class Inputs:
    """Several arguments for a net, in the place of one input: the net is called as ``net(*args, **kwargs)``.

    Everything that takes a batch ``x`` takes it. A tuple or a dict is one argument, and reaches the net as it is.

    Example:
        >>> import torch, biograd
        >>> x = biograd.Inputs(torch.ones(2, 3), scale=2.0)
        >>> x.args[0].shape, x.kwargs
        (torch.Size([2, 3]), {'scale': 2.0})
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def __repr__(self) -> str:
        return outlined(self)


def called(net: nn.Module | Callable[..., Any], x: Any) -> Any:
    """``net(x)``, or the call that an `Inputs` stands for."""
    return net(*x.args, **x.kwargs) if isinstance(x, Inputs) else net(x)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors within a structure, at any depth, in order.

    Structures are lists, tuples (named ones too), mappings, dataclasses (``ModelOutput`` is both) and `Inputs`.
    """
    if isinstance(value, Tensor):
        yield value
    else:
        for part in _parts(value):
            yield from tensors_in(part)


def map_tensors(fn: Callable[[Tensor], Any], value: Any) -> Any:
    """A structure like ``value`` with ``fn`` of every tensor in its place; all else is as it is.

    Example:
        >>> import torch
        >>> map_tensors(len, {"image": torch.ones(2, 3), "text": ("a", torch.ones(4))})
        {'image': 2, 'text': ('a', 4)}
    """
    if isinstance(value, Tensor):
        return fn(value)
    if isinstance(value, Inputs):
        return Inputs(*map_tensors(fn, value.args), **map_tensors(fn, value.kwargs))
    if isinstance(value, SEQUENCES):
        return _sequence_like(value, [map_tensors(fn, part) for part in value])
    if isinstance(value, Mapping):
        return _mapping_like(value, {key: map_tensors(fn, part) for key, part in value.items()})
    if _is_record(value):
        fields = {name: map_tensors(fn, getattr(value, name)) for name in _field_names(value)}
        return _record_like(value, fields)
    return value


def detached(value: Any) -> Any:
    """A structure like ``value`` whose tensors have no graph; they share the memory of those."""
    return map_tensors(Tensor.detach, value)


def copied(value: Any) -> Any:
    """A structure like ``value`` whose tensors have no graph and a memory of their own."""
    return map_tensors(lambda tensor: tensor.detach().clone(), value)


def as_leaves(x: Any) -> list[Tensor]:
    """The floating-point tensors in a structure, each made a leaf that receives a gradient."""
    return [tensor.requires_grad_() for tensor in tensors_in(x) if tensor.is_floating_point()]


def gradients_at(x: Any) -> Any:
    """A structure with the gradients that `as_leaves` received, zeros where none came; None for other tensors."""
    return map_tensors(_gradient_at, x)


def _gradient_at(tensor: Tensor) -> Tensor | None:
    return torch.zeros_like(tensor) if tensor.requires_grad and tensor.grad is None else tensor.grad


def part_of(value: Any, path: str) -> Any:
    """What lies in a structure at a place.

    Args:
        value: the structure.
        path: keys, fields or numbers, with a dot between one level and the next.

    Raises:
        UserMistake: nothing lies there.

    Example:
        >>> part_of({"heads": (1, 2)}, "heads.1")
        2
    """
    for step in path.split("."):
        named = _named_parts(value)
        if step not in named:
            there = f"it has {listed([repr(name) for name in named])}" if named else "it has no parts"
            raise UserMistake(f"{brief(path)} names no part of {outlined(value)} at {brief(step)}: {there}")
        value = named[step]
    return value


def batch_size(x: Any) -> int | None:
    """How many examples a batch has: the length of its first tensor with an axis, whose first one counts them.

    None where no tensor says so. Of a packed sequence it is the number of sequences.
    """
    if isinstance(x, Tensor):
        return x.shape[0] if x.dim() else None
    if isinstance(x, PackedSequence):
        return int(x.batch_sizes[0])
    return next((size for part in _parts(x) if (size := batch_size(part)) is not None), None)


def device_of(x: Any) -> torch.device:
    """The device of the first tensor in a structure; the CPU where there is none."""
    first = next(tensors_in(x), None)
    return torch.device("cpu") if first is None else first.device


def of_examples(x: Any, count: int) -> Any:
    """A batch of another size: copies of the first example of one, in its structure; see `batch_size`.

    Tensors that have no example a row stay as they are, and so do packed sequences.

    Example:
        >>> import torch
        >>> one = of_examples({"image": torch.ones(2, 3), "grid": torch.ones(5, 4)}, 1)
        >>> one["image"].shape, one["grid"].shape
        (torch.Size([1, 3]), torch.Size([5, 4]))
    """
    there = batch_size(x)
    if there is None or there == count or isinstance(x, PackedSequence):
        return x
    return map_tensors(lambda tensor: _of_examples(tensor, there, count), x)


def _of_examples(tensor: Tensor, there: int, count: int) -> Tensor:
    is_by_example = tensor.dim() > 0 and len(tensor) == there
    return tensor[:1].expand(count, *tensor.shape[1:]) if is_by_example else tensor


def outlined(value: Any) -> str:
    """A structure as messages show it.

    Example:
        >>> import torch
        >>> outlined((torch.ones(2, 3), torch.ones(2)))
        'a tuple with tensors (2, 3), (2,)'
    """
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    shapes = [str(tuple(tensor.shape)) for tensor in tensors_in(value)]
    kind = "None" if value is None else f"{_article(type(value).__name__)} {type(value).__name__}"
    if not shapes:
        return kind
    more = f" and {len(shapes) - 4} more" if len(shapes) > 4 else ""
    return f"{kind} with tensors {', '.join(shapes[:4])}{more}"


def require_tensor_for(who: str, x: Any) -> None:
    """Refuse a batch that is no single tensor.

    Args:
        who: needs one.
        x: the batch.

    Raises:
        UserMistake: it is another structure.
    """
    if not isinstance(x, Tensor):
        raise UserMistake(f"{who} needs a batch that is one tensor, and got {outlined(x)}: {_INSTEAD}")


def require_tensor_from(what: str, output: Any) -> None:
    """Refuse an output that is no single tensor.

    Args:
        what: gave it.
        output: what it gave.

    Raises:
        UnsupportedNet: it is another structure.
    """
    if not isinstance(output, Tensor):
        raise UnsupportedNet(f"{what} gives {outlined(output)}, and the rule needs one tensor: {_INSTEAD}")


def only_tensor(output: Any) -> Tensor | None:
    """The one floating-point tensor in a structure; None where there are several, or none."""
    found = [tensor for tensor in tensors_in(output) if tensor.is_floating_point()]
    return found[0] if len(found) == 1 else None


def with_only_tensor(output: Any, tensor: Tensor) -> Any:
    """A structure like ``output`` with another `only_tensor`.

    Example:
        >>> import torch
        >>> with_only_tensor((torch.ones(2), None), torch.zeros(1))
        (tensor([0.]), None)
    """
    return map_tensors(lambda old: tensor if old.is_floating_point() else old, output)


def require_tensors_in(output: Any) -> None:
    """Refuse an output that holds no tensor where one would be seen.

    Raises:
        UnsupportedNet: it is no structure that is known, or an empty one.
    """
    if not isinstance(output, Tensor) and next(tensors_in(output), None) is None:
        raise UnsupportedNet(
            f"the net gives {outlined(output)}, in which no tensor is seen: let it give tensors, or tuples, lists, "
            "dicts or dataclasses of them"
        )


_INSTEAD = (
    "give one, or use a rule that takes any structure of tensors (bp, fa and other feedback rules; at cut points, "
    "blocks=, dfa, dtp and others take one too)"
)


def _parts(value: Any) -> Iterable[Any]:
    """What a structure holds, one level down; of what is none, nothing."""
    if isinstance(value, SEQUENCES):
        return value
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, Inputs):
        return (value.args, value.kwargs)
    return (getattr(value, name) for name in _field_names(value)) if _is_record(value) else ()


def _named_parts(value: Any) -> dict[str, Any]:
    """What a structure holds, one level down, by the names that `part_of` knows it by."""
    if isinstance(value, SEQUENCES):
        named = zip(getattr(value, "_fields", ()), value, strict=False)
        return {str(place): part for place, part in enumerate(value)} | dict(named)
    fields = {name: getattr(value, name) for name in _field_names(value)} if _is_record(value) else {}
    return fields | ({str(key): part for key, part in value.items()} if isinstance(value, Mapping) else {})


def _sequence_like(value: Any, parts: list[Any]) -> Any:
    if isinstance(value, list):
        made = copy.copy(value)
        made[:] = parts
        return made
    return value._make(parts) if hasattr(value, "_make") else type(value)(parts)  # named tuples take no list


def _mapping_like(value: Any, parts: dict[Any, Any]) -> Any:
    """A copy with other items; a class whose items are attributes too (``ModelOutput``) keeps both in step."""
    if not isinstance(value, MutableMapping):
        return type(value)(parts)
    made: Any = copy.copy(value)
    for key, part in parts.items():
        made[key] = part
    return made


def _record_like(value: Any, fields: dict[str, Any]) -> Any:
    made = copy.copy(value)
    for name, part in fields.items():
        object.__setattr__(made, name, part)  # it may be frozen
    return made


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _field_names(value: Any) -> list[str]:
    """The fields that are set; one without a default may not be yet."""
    return [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]


def _article(name: str) -> str:
    return "an" if name[:1] in "AEIOUaeio" else "a"
