"""Rules, nets, data and losses that a program gives as objects, in place of names."""

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from torch import nn

from biograd import data, nets, rules
from biograd.data import DataSet
from biograd.data.examples import are_examples, gathered
from biograd.data.given import loader
from biograd.errors import UserMistake
from biograd.handed import hand
from biograd.registry import Registry
from biograd.rules.base import Rule
from biograd.settings import validate
from biograd.training import losses

OBJECTS: dict[str, Registry] = {
    "rule": rules.REGISTRY,
    "data": data.REGISTRY,
    "net": nets.REGISTRY,
    "loss": losses.REGISTRY,
}
"""What may be given as an object."""

COLUMNS = ("inputs", "targets")
"""The settings that say how examples are read."""


def named(key: str, value: Any) -> Any:
    """A choice of a configuration, in which an object has become a name that brings it along.

    Args:
        key: of the configuration.
        value: a name, a table of a name and settings, settings alone, or an object; the name in a table may be an
            object too.

    Raises:
        UserMistake: the object is none that the key could be.

    Example:
        >>> named("rule", "fa"), named("net", {"name": "mlp", "widths": 8})
        ('fa', {'name': 'mlp', 'widths': 8})
        >>> named("net", nn.Linear(3, 2))["name"].partition("@")[0]
        'object:Linear'
    """
    if key not in OBJECTS or value is None or isinstance(value, str | BaseModel):
        return value
    if not isinstance(value, Mapping) or (key == "data" and "train" in value):  # parts by name
        return _table(key, value, {}) if _is_object(key, value) else value
    given = value.get("name")
    settings = {setting: item for setting, item in value.items() if setting != "name"}
    return _table(key, given, settings) if _is_object(key, given) else value


def _is_object(key: str, given: Any) -> bool:
    is_data = key == "data" and (isinstance(given, DataSet) or are_examples(given))
    return is_data or callable(given)


def _table(key: str, given: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """A choice of an object; examples are read here, so that they are known."""
    registered = OBJECTS[key].name_of(given)
    if registered is not None:
        return {**settings, "name": registered}
    if key != "data" or not are_examples(given):
        return {**settings, "name": hand(_kept(key, given), given.name if isinstance(given, DataSet) else "")}
    columns = {column: settings[column] for column in COLUMNS if column in settings}
    columns = validate(loader(given), columns, f"data of type {type(given).__name__}")
    others = {setting: value for setting, value in settings.items() if setting not in COLUMNS}
    label = "own-data" if isinstance(given, tuple | list | Mapping) else ""
    return {**others, "name": hand(gathered(given, **columns), label or type(given).__name__)}


def _kept(key: str, given: Any) -> Any:
    """What a run is to find when it begins: a net as it is now, whatever becomes of it.

    Raises:
        UserMistake: it is a rule that has been made, for some net.
    """
    if key == "rule" and isinstance(given, Rule):
        raise UserMistake(
            f"the rule is a {type(given).__name__} that was made for a net: give its class, or a function "
            "(net, sample) that makes one"
        )
    return copy.deepcopy(given) if key == "net" and isinstance(given, nn.Module) else given
