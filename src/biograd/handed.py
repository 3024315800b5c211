"""Objects that a program gives in place of names: a net, a rule, a data set."""

import functools
import re
from typing import Any

from biograd.identity import digest
from biograd.user_files import SEPARATOR

SIGN = "object:"


class Handed(str):
    """A name that brings along what it stands for: ``object:LABEL@DIGEST``.

    It is spelled in records, and compared, like any other name; two objects have the same name where they hold the
    same. A record that is read again has the name alone: whoever goes on with it has to give the object again.

    Attributes:
        given: the object.
    """

    given: Any


def hand(given: Any, label: str = "") -> Handed:
    """A name for an object.

    Args:
        given: the object.
        label: what tables call it; empty for the name of its class, or its own.

    Example:
        >>> hand([1, 2]) == hand([1, 2]), hand([1, 2]) == hand([1, 3]), label_of(hand([1, 2]))
        (True, False, 'list')
    """
    name = Handed(f"{SIGN}{_fit(label or _called(given))}@{digest(given)}")
    name.given = given
    return name


def is_handed(name: str) -> bool:
    """Whether a name is that of an object, which need not be there any more."""
    return name.startswith(SIGN)


def label_of(name: str) -> str:
    """What tables call a rule, net or data set, by its name, behind which more may stand: ``digits 3 vs rest``.

    Example:
        >>> [label_of(name) for name in ("fa", "path/to/file.py:Net", "folder:path/to/cats", "object:Net@779d41d8201f")]
        ['fa', 'Net', 'cats', 'Net']
        >>> label_of("folder:cats")
        'cats'
    """
    if is_handed(name):
        return re.sub(r"@[0-9a-f]+", "", name.removeprefix(SIGN), count=1)
    if re.match(r"\w+:", name) and SEPARATOR not in name:  # of files: folder:/home/me/cats, table:flowers.csv
        return re.sub(r"\.\w+(?= |$)", "", re.sub(r"^\w+:(.*/)?", "", name))
    return name.rpartition(SEPARATOR)[2]


def _called(given: Any) -> str:
    """The name of a function or class, that of its class for anything else."""
    if isinstance(given, functools.partial):
        return _called(given.func)
    return getattr(given, "__name__", type(given).__name__)


def _fit(label: str) -> str:
    """A label that a folder can be called."""
    return re.sub(r"[^\w.+=-]+", "-", label).strip("-.") or "object"
