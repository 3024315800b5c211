"""A row as a type, and whether what a file holds is one: the types that rows are declared with, and the check.

Each kind of row is declared once, as a `TypedDict` whose entries have the types below. Writers build rows of that
type; `checked` holds what was read against the same declaration, so that no reader meets a row that is none.

Keys that a declaration does not name may be there, since a later version may have written the file: they are kept as
they are, and shown where a page lists all that there is.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from biograd.errors import brief

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

_Kind = TypeVar("_Kind", bound=type)
_Row = TypeVar("_Row")


def row(kind: _Kind) -> _Kind:
    """Declares a row: no value is turned into one of another type, and what is not declared is kept."""
    kind.__pydantic_config__ = {"strict": True, "extra": "allow", "allow_inf_nan": False}
    return kind


Count = Annotated[int, Ge(0), Lt(2**63)]
"""A whole number from 0 on."""
Number = float
"""A finite number."""
Positive = Annotated[float, Gt(0)]
"""A finite number above 0."""
Share = Annotated[float, Ge(0), Le(1)]
"""A number from 0 to 1, as accuracies are recorded."""
Time = Annotated[float, Ge(0)]
"""Seconds."""
Json = dict[str, Any]
"""An object that is shown as it is, whatever it holds."""

LARGEST = 1e100
"""Numbers beyond this, either way, are left out of means and figures: their squares are no numbers."""


def checked(kind: type[_Row], value: object) -> _Row:
    """What was read, as a row of its kind, or as a list of them.

    Args:
        kind: the row's type, or ``list[…]`` of it.
        value: what the file holds.

    Raises:
        ValueError: it is no such row; the message says which entry, what came and what was expected.

    Example:
        >>> from typing_extensions import TypedDict
        >>> @row
        ... class Point(TypedDict):
        ...     x: Number
        >>> checked(Point, {"x": 1})
        {'x': 1.0}
        >>> checked(list[Point], [{"x": 1.0}, {"x": "1"}])
        Traceback (most recent call last):
        ValueError: 1.x is '1', expected a number
    """
    from pydantic import ValidationError  # here, so that what only writes rows starts without it

    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise ValueError(_told(error.errors(include_url=False)[0])) from None


def number(row: Mapping[str, Any], key: str) -> float | None:
    """The entry as a float that can be drawn, None when it is missing, no number, or beyond `LARGEST`."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST <= value <= LARGEST else None


def is_nested_deeper(value: object, levels: int) -> bool:
    """Whether objects and lists lie in each other more than so many levels deep.

    Example:
        >>> is_nested_deeper({"a": [1]}, 2), is_nested_deeper({"a": [1]}, 1)
        (False, True)
    """
    level = [value]
    for _ in range(levels + 1):
        level = [item for one in level if isinstance(one, dict | list) for item in _items(one)]
    return bool(level)


@functools.cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _told(error: "ErrorDetails") -> str:
    """One line about the first thing that is wrong."""
    place = ".".join(_short(str(part)) for part in error["loc"]) or "it"
    if error["type"] == "missing":
        return f"{place} is missing"
    if error["type"] == "predicate_failed":
        wanted = error["msg"].split("'")[1].strip("_").replace("_", " ")
        return f"{place} must have {wanted}"
    expected = error["msg"].removeprefix("Input should be ").partition(",")[0]
    expected = expected.replace("a valid integer", "an integer").replace("a valid", "a")
    bound = "a number " if expected.startswith(("less", "greater")) else ""
    return f"{place} is {brief(error['input'])}, expected {bound}{expected}"


def _short(key: str) -> str:
    """A key as messages show it, whatever signs it holds."""
    return key if key.isidentifier() or key.isdecimal() else brief(key)


def _items(value: dict[Any, Any] | list[Any]) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value
