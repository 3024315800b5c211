"""What a named rule, net or data set is: docstring, settings, defaults and ranges, as text or as a row."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from biograd.cli.output import columns
from biograd.cli.plain_text import plain
from biograd.registry import Registry
from biograd.settings import Setting, describe


def summary(constructor: Callable[..., Any]) -> str:
    """The first sentence of a docstring, on one line."""
    return " ".join(plain(_paragraphs(constructor)).partition("\n\n")[0].split())


def summaries(registry: Registry) -> dict[str, str]:
    """Name to one line for everything registered.

    One that another package registers and that cannot be imported is listed with the reason, so that it
    does not hide the others.
    """
    return {name: _summary_or_reason(registry, name) for name in registry.names()}


def row(name: str, constructor: Callable[..., Any]) -> dict[str, Any]:
    """Everything about one constructor, for ``--json``."""
    settings = [
        {
            "name": setting.name,
            **({"of": setting.strategy.name} if setting.strategy else {}),
            "default": None if setting.default is inspect.Parameter.empty else setting.default,
            "required": setting.default is inspect.Parameter.empty,
            "range": setting.type,
            "searched": None if setting.searched is None else str(setting.searched),
            "meaning": _meaning(setting, constructor),
        }
        for setting in describe(constructor)
    ]
    return {"name": name, "description": plain(_paragraphs(constructor)), "settings": settings}


def text(section: str, name: str, constructor: Callable[..., Any]) -> str:
    """Docstring and settings of one constructor, for a person.

    Args:
        section: what stands before the dot of its settings' flags: ``rule``, ``net``, ``data``.
        name: as it is registered.
        constructor: what the name stands for.
    """
    head = [name, "", plain(_paragraphs(constructor)) or "(no description)", ""]
    settings = describe(constructor)
    if not settings:
        return "\n".join([*head, "No settings."])
    lines = [_line(section, setting, _meaning(setting, constructor)) for setting in settings]
    return "\n".join([*head, "Settings:", columns(lines)])


def _line(section: str, setting: Setting, meaning: str) -> tuple[str, str]:
    """A setting in the manner of ``--help``: the flag, then meaning, range, default and what is searched."""
    flag = f"--{section}.{setting.name.replace('_', '-')}"
    where = f"{setting.strategy.name}: " if setting.strategy else ""
    searched = "" if setting.searched is None else f"; searched {setting.searched}"
    return (
        flag,
        f"{where}{meaning.rstrip('.')} ({setting.type}; {_spell(setting.default)}{searched})".lstrip(),
    )


def _spell(default: Any) -> str:
    """A default as it would be typed."""
    if default is inspect.Parameter.empty:
        return "must be given"
    if default is None or isinstance(default, bool):
        return f"default {str(default).lower()}"
    if isinstance(default, tuple | list):
        return f"default {','.join(map(str, default)) or 'empty'}"
    return f"default {default}"


def _paragraphs(constructor: Callable[..., Any]) -> str:
    """A docstring without its sections (``Args:``, ``Raises:``, …)."""
    doc = _docstring(constructor)
    return re.split(r"^\w+:$", doc, maxsplit=1, flags=re.MULTILINE)[0].strip()


def _meaning(setting: Setting, constructor: Callable[..., Any]) -> str:
    """What the docstring of a setting's owner says of it, the constructor or a strategy, or else its annotation."""
    owner, name = setting.strategy or constructor, setting.name.rpartition(".")[2]
    return _meanings(owner).get(name) or plain(setting.meaning)


def _meanings(constructor: Callable[..., Any]) -> dict[str, str]:
    """What the ``Args:`` section says about each setting, on one line each."""
    doc = _docstring(constructor)
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", doc, flags=re.MULTILINE)
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section[1] if section else "", flags=re.MULTILINE)
    return {name: plain(" ".join(meaning.split())) for name, meaning in entries}


def _docstring(constructor: Callable[..., Any]) -> str:
    """Its own docstring: one that is inherited would describe something else."""
    return inspect.cleandoc(constructor.__doc__ or "")


def _summary_or_reason(registry: Registry, name: str) -> str:
    try:
        return summary(registry.find(name))
    except Exception as error:  # whatever an installed package raises when it is imported
        return f"cannot be used: {type(error).__name__}: {error}"
