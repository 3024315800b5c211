"""Which flag is meant by one that there is not: a setting of what the command line names."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from biograd.errors import UserMistake


def of_setting(flag: str, arguments: Sequence[str], sections: Iterable[str]) -> list[str]:
    """The flags of settings that are called as an unknown flag is, of what is named beside it, or by default.

    Args:
        flag: as it was typed, ``--scale``.
        arguments: what was typed after the command.
        sections: which settings the command takes.

    Example:
        >>> of_setting("--scale", ["--rule", "fa", "--scale", "2"], ["rule", "net"])
        ['--rule.scale']
        >>> of_setting("--scale", ["--rules", "bp,fa,dfa"], ["rule"])
        ['--rule.fa.scale', '--rule.dfa.scale']
    """
    name = flag.lstrip("-").replace("-", "_")
    found = []
    for section in sections:
        for owner, prefix in _named(section, arguments):
            if name in _settings(section, owner):
                found.append(f"--{section.replace('_', '-')}.{prefix}{name.replace('_', '-')}")
    return list(dict.fromkeys(found))  # a rule may be named twice, which is not what this line is about


def _named(section: str, arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What a section's flag names, or its default, and what stands before a setting of it."""
    if section == "rule" and (several := _value("rules", arguments)):
        names = [name.strip() for name in several.split(",")]
        labels = [f"{name.rpartition(':')[2]}." if len(names) > 1 else "" for name in names]
        yield from zip(names, labels, strict=True)
    elif section in ("observe", "track"):
        for name in filter(None, (_value(section, arguments) or "").split(",")):
            yield name, f"{name.rpartition(':')[2]}."
    elif (name := _value(section, arguments) or _DEFAULTS.get(section)) is not None:
        yield name, ""


_DEFAULTS = {"optimizer": "adam", "schedule": "cosine", "engine": "local"}


def _value(flag: str, arguments: Sequence[str]) -> str | None:
    """What was typed after a flag, the last time."""
    typed = f"--{flag.replace('_', '-')}"
    for place in reversed(range(len(arguments))):
        if arguments[place].startswith(f"{typed}="):
            return arguments[place].partition("=")[2]
        if arguments[place] == typed and place + 1 < len(arguments):
            return arguments[place + 1]
    return None


def _settings(section: str, name: str) -> set[str]:
    """The names of the settings of what a section names; none of what there is not."""
    from biograd.settings import describe

    find = _finders().get(section)
    try:
        return {setting.name for setting in describe(find(name))} if find else set()
    except UserMistake:
        return set()


def _finders() -> dict[str, Callable[[str], Callable[..., Any]]]:
    from biograd import data, executor, nets, penalties, rules
    from biograd.training import observers, optimizers, schedules

    return {
        "rule": rules.REGISTRY.find,
        "data": data.REGISTRY.find,
        "net": nets.REGISTRY.find,
        "optimizer": optimizers.find,
        "feedback_optimizer": optimizers.find,
        "schedule": schedules.REGISTRY.find,
        "penalty": penalties.REGISTRY.find,
        "observe": observers.REGISTRY.find,
        "track": observers.REGISTRY.find,
        "engine": executor.REGISTRY.find,
    }
