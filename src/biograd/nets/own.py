"""Nets of a user's own: what is given as one, as a constructor like the others."""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

NAMES = ("input_shape", "outputs")
"""What a constructor is given, by position."""


def constructor(found: Any) -> Any:
    """What a user names or hands over as a net, as ``Name(input_shape, outputs, *, …)``.

    Of a module every call makes a copy as it is. A class or function that has to be given nothing by position makes the
    net by itself, whatever the task, unless it asks for them by name; what it could be given by position keeps its
    defaults. Anything else is as it is.

    Example:
        >>> import torch
        >>> constructor(torch.nn.Linear(3, 2))((3,), 2)
        Linear(in_features=3, out_features=2, bias=True)
    """
    from torch import nn

    if isinstance(found, nn.Module):
        return _copying(found)
    makes_nets = not inspect.isclass(found) or issubclass(found, nn.Module)
    return _by_itself(found) if makes_nets and callable(found) and _takes_nothing(found) else found


def _copying(net: Any) -> Callable[..., Any]:
    def copied(input_shape: tuple[int, ...], outputs: int) -> Any:
        del input_shape, outputs
        return copy.deepcopy(net)

    return copied


def _by_itself(make: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(make.__init__ if inspect.isclass(make) else make)
    def made(input_shape: tuple[int, ...], outputs: int, **settings: Any) -> Any:
        told = {"input_shape": input_shape, "outputs": outputs}
        return make(**{name: value for name, value in told.items() if name in by_name}, **settings)

    parameters = inspect.signature(make).parameters.items()
    by_name = {name: one for name, one in parameters if one.kind is one.KEYWORD_ONLY}
    own = [one for name, one in by_name.items() if name not in NAMES]
    given = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in NAMES]
    made.__signature__ = inspect.Signature([*given, *own])  # pyright: ignore[reportAttributeAccessIssue]
    return made


def _takes_nothing(make: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # built in, without a signature
        return False
    by_position = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    takes_any = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    is_named = tuple(one.name for one in by_position[:2]) == NAMES
    return not takes_any and not is_named and all(one.default is not one.empty for one in by_position)
