"""Flags and files as layers of one nested mapping, merged key by key."""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from biograd import records
from biograd.errors import UserMistake, brief, cut_short, unreadable
from biograd.training.objects import named

CHOICES = ("rule", "data", "net", "optimizer", "feedback_optimizer", "schedule", "loss", "penalty")
"""The keys that hold a name and its settings; in a layer, flat: ``{"name": "fa", "scale": 0.5}``."""

SEVERAL = ("observe", "track")
"""The keys that hold any number of names with settings; in a layer, by label: ``{"mlflow": {"uri": "…"}}``."""

SHARED = "shared"
"""The name of no feedback optimiser: the net's optimiser moves the rule's parameters too."""

TABLES = "rules"
"""The key of a file's tables for single rules, as comparisons use them: ``[rules.fa]``."""

_NOT_IN_A_TABLE = {
    "seed": "all rules get the seeds of the comparison",
    "label": "the name of the table is the label",
}

Layer = dict[str, Any]


def read(file: str | os.PathLike[str], known: Sequence[str]) -> tuple[Layer, dict[str, Layer]]:
    """The layer that a TOML file, or a run's ``config.json``, holds, and those of its tables ``[rules.LABEL]``.

    A table names its rule, or is called as its rule is.

    Args:
        file: where it lies.
        known: the keys there are.

    Raises:
        UserMistake: there is no such file, it is not valid, or it holds an unknown key.
    """
    content = _content(Path(file))
    tables = content.pop(TABLES, {})
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        raise UserMistake(
            f"{file}: expected a table for each rule under {TABLES}, [{TABLES}.LABEL]; got {brief(tables)}"
        )
    if tables and "label" in content:
        raise UserMistake(f"{file}: label cannot hold for several rules; the name of each table is its label")
    of_rules = {label: _table(label, table, str(file), known) for label, table in tables.items()}
    return layer(content, str(file), known), of_rules


def place(file: str | os.PathLike[str], label: str) -> str:
    """What messages call the table of a rule in a file."""
    return f"{file} [{TABLES}.{label}]"


def _table(label: str, table: Mapping[str, Any], file: str, known: Sequence[str]) -> Layer:
    where = place(file, label)
    for key, value in table.items():
        if isinstance(value, Mapping) and not difflib.get_close_matches(
            key.replace("-", "_"), known, cutoff=0.6
        ):
            quoted = f'[{TABLES}."{label}.{key}"]'
            raise UserMistake(f"{where} has a table {brief(key)}: a label with a dot is quoted, {quoted}")
    for key, reason in _NOT_IN_A_TABLE.items():
        if key in table:
            raise UserMistake(f"{where} has {key}, which it cannot set: {reason}")
    try:
        given = layer(table, where, [key for key in known if key not in _NOT_IN_A_TABLE])
    except UserMistake as error:
        raise UserMistake(f"{error} (settings of the rule itself go into rule = {{…}})") from None
    return {**given, "rule": {"name": label, **given.get("rule", {})}}


def _content(path: Path) -> dict[str, Any]:
    try:
        raw = records.read_bytes(path)
        return records.parse(raw) if path.suffix == ".json" else tomllib.loads(raw.decode())
    except OSError as error:
        raise unreadable(path, error, "a configuration file") from None
    except (ValueError, RecursionError) as error:
        expected = "JSON" if path.suffix == ".json" else "TOML"
        raise UserMistake(f"{path} is not valid {expected}: {error}") from None


def layer(content: Mapping[str, Any], source: str, known: Sequence[str]) -> Layer:
    """Spell the keys of one source in one way, and refuse those that do not exist.

    Args:
        content: nested names to values; None is as good as not given, ``lr`` is the optimiser's.
        source: what messages call it.
        known: the keys there are.

    Raises:
        UserMistake: an unknown key, or a choice without a name or a table.
    """
    given = {str(key).replace("-", "_"): value for key, value in content.items() if value is not None}
    for key in given:
        if key not in (*known, "lr"):
            raise UserMistake(unknown(key, source, known))
    try:
        spelled = {key: _spelled(key, value) for key, value in given.items()}
    except UserMistake as error:
        raise UserMistake(f"{source}: {error}") from None
    return _with_rate(spelled, source)


def _spelled(key: str, value: Any) -> Any:
    if key in SEVERAL:
        return several(value)
    return flat(named(key, value)) if key in CHOICES else value


def merged(lower: Layer, upper: Layer) -> Layer:
    """``upper`` over ``lower``, key by key; a choice with another name replaces the one below whole.

    So does a strategy among its settings; one of the same name, or none, is merged key by key too.
    Of keys that hold several names, those of both are kept; what has one label and one name in both has the settings of
    either.

    Example:
        >>> merged({"rule": {"name": "fa", "scale": 2}}, {"rule": {"seed": 1}})
        {'rule': {'name': 'fa', 'scale': 2, 'seed': 1}}
        >>> merged({"rule": {"name": "fa", "scale": 2}}, {"rule": {"name": "kp"}})
        {'rule': {'name': 'kp'}}
        >>> merged({"rule": {"form": {"name": "constant", "gamma": 0.1}}}, {"rule": {"form": {"margin": 0.01}}})
        {'rule': {'form': {'name': 'constant', 'gamma': 0.1, 'margin': 0.01}}}
    """
    result = dict(lower)
    for key, value in upper.items():
        if key in CHOICES:
            value = _over(lower.get(key, {}), value)
        elif key in SEVERAL:
            below = lower.get(key, {})
            value = {
                label: _of_several(label, below.get(label, {}), value.get(label, {}))
                for label in {**below, **value}
            }
        result[key] = value
    return result


def _over(below: Layer, above: Layer) -> Layer:
    """One choice over another; settings alone, over a feedback optimiser that has none, are Adam's."""
    if below == {"name": SHARED} and above and "name" not in above:
        return {"name": "adam", **above}
    same = above.get("name", below.get("name")) == below.get("name")
    if not same:
        return above
    return {**below, **{key: _refined(below.get(key), value) for key, value in above.items()}}


def _refined(below: Any, above: Any) -> Any:
    """A setting over that of a layer below; where both stand for a strategy of one name, key by key as well."""
    has_settings = isinstance(below, Mapping) or isinstance(above, Mapping)
    if not has_settings or not all(isinstance(one, str | Mapping) for one in (below, above)):
        return above
    lower, upper = flat(below), flat(above)
    same = "name" in lower and upper.get("name", lower["name"]) == lower["name"]
    return {**lower, **upper} if same else above


def _of_several(label: str, below: Layer, above: Layer) -> Layer:
    """One of several over another of its label, which is the name where none is given."""
    name = below.get("name", label)
    return {**below, **above} if not below or above.get("name", name) == name else above


def flat(value: Any) -> Layer:
    """A choice as a layer holds it, from a name, a table, or a name with a table of settings.

    Example:
        >>> flat("fa"), flat({"name": "fa", "settings": {"scale": 2}}), flat({"name": "kp", "seed": 1})
        ({'name': 'fa'}, {'name': 'fa', 'scale': 2}, {'name': 'kp', 'seed': 1})
    """
    if isinstance(value, str):
        return {"name": value}
    if hasattr(value, "settings"):
        value = {"name": value.name, "settings": value.settings}
    if not isinstance(value, Mapping):
        raise UserMistake(f"expected a name or a table with a name, got {brief(value)}")
    settings = {key: item for key, item in value.items() if key != "settings"}
    if isinstance(value.get("settings", {}), Mapping):
        settings |= value.get("settings", {})
    named = {str(key).replace("-", "_"): item for key, item in settings.items()}
    return {key: item for key, item in named.items() if item is not None}


def several(value: Any) -> dict[str, Layer]:
    """Any number of choices as a layer holds them, by the last part of their names.

    Takes a name, names with commas between, a list of what `flat` takes, or what this gives.

    Example:
        >>> several("tensorboard,mlflow")
        {'tensorboard': {'name': 'tensorboard'}, 'mlflow': {'name': 'mlflow'}}
        >>> several([{"name": "mine.py:Patience", "epochs": 3}])
        {'Patience': {'name': 'mine.py:Patience', 'epochs': 3}}
    """
    if isinstance(value, Mapping) and "name" not in value:
        return {label: flat(settings) for label, settings in value.items()}
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if not isinstance(value, Sequence):
        raise UserMistake(f"expected names, or tables with a name, got {brief(value)}")
    found: dict[str, Layer] = {}
    for one in map(flat, value):
        label = str(one.get("name", "")).rpartition(":")[2]
        if label in found:
            raise UserMistake(f"{label!r} is named twice")
        found[label] = one
    return found


def nested(value: Any) -> dict[str, Any]:
    """A choice as ``config.json`` holds it: a name and a table of settings.

    Example:
        >>> nested({"name": "fa", "scale": 2})
        {'name': 'fa', 'settings': {'scale': 2}}
    """
    settings = flat(value)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise UserMistake(
            f'the settings {cut_short(", ".join(settings))} have no name to go with: expected name = "…"'
        )
    return {"name": name, "settings": settings}


def unknown(key: str, source: str, known: Sequence[str]) -> str:
    """What to say of a key that no configuration has."""
    near = difflib.get_close_matches(key, [*known, "lr"], n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{source} has an unknown key {brief(key)}: {hint}Known: {', '.join([*known, 'lr'])}"


def _with_rate(given: Layer, source: str) -> Layer:
    """``lr`` is short for the optimiser's setting."""
    if "lr" not in given:
        return given
    rate, optimizer = given.pop("lr"), given.get("optimizer", {})
    if "lr" in optimizer and optimizer["lr"] != rate:
        raise UserMistake(f"{source}: lr is {rate} and optimizer.lr is {optimizer['lr']}; give one of them")
    return {**given, "optimizer": {**optimizer, "lr": rate}}
