"""Inputs are one tensor, or several by name, their columns: what is done to the one is done to each of the others."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from biograd.errors import UserMistake


def on_each(fn: Callable[..., Any], inputs: Any, *beside: Any) -> Any:
    """``fn(inputs, *beside)``; of columns a dict of it, of each with what stands beside it by its name, else None.

    Example:
        >>> on_each(len, "abc"), on_each(len, {"a": "abc", "b": ""})
        (3, {'a': 3, 'b': 0})
        >>> on_each(lambda x, y: (x, y), {"a": 1, "b": 2}, {"b": 3})
        {'a': (1, None), 'b': (2, 3)}
    """
    if not isinstance(inputs, Mapping):
        return fn(inputs, *beside)
    others = [one or {} for one in beside]
    return {name: fn(column, *(one.get(name) for one in others)) for name, column in inputs.items()}


def named(inputs: Any) -> dict[str, Any]:
    """The columns of inputs; of one tensor it alone, with no name.

    Example:
        >>> named(1), named({"a": 1})
        ({'': 1}, {'a': 1})
    """
    return dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}


def require_once(names: Sequence[str]) -> None:
    """Refuse a name that stands several times among those of inputs.

    Raises:
        UserMistake: one does.
    """
    (name, times), *_ = Counter(names).most_common(1) or [("", 0)]
    if times > 1:
        raise UserMistake(f"the setting inputs names {name!r} {times} times: name each column once")


def titles(inputs: Any, where: str) -> Any:
    """What messages call inputs, to stand beside them in `on_each`.

    Args:
        inputs: a tensor, or columns.
        where: what they are called as a whole.

    Example:
        >>> titles(1, "mine"), titles({"a": 1}, "mine")
        ('mine', {'a': "mine, column 'a'"})
    """
    return {name: f"{where}, column {name!r}" for name in inputs} if isinstance(inputs, Mapping) else where
