"""From the words of a command line to a namespace; every mistake is one line that names the way out."""

import argparse
import difflib
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from biograd.cli.suggestions import of_setting
from biograd.errors import UserMistake, brief, cut_short

_NEGATIVE_NUMBER = re.compile(r"-(\d|\.\d|inf|nan)", re.IGNORECASE)
_REWORDED = [
    (r"^argument (\S+): ", r"\1: "),
    (r"^unrecognized arguments: ", "takes no further argument, got "),
    (r"^the following arguments are required: ", "needs "),
    (r": expected one argument$", " expects a value"),
    (r": ignored explicit argument .*", " takes no value"),
]

Settings = dict[str, dict[str, str]]
"""Section (``rule``, ``net``, …) to setting to the text that was typed."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line, where argparse prints its usage and exits."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise argparse's own complaint in the words of the other messages."""
        for pattern, words in _REWORDED:
            message = re.sub(pattern, words, message)
        raise UserMistake(message)

    def print_help(self, file: Any = None) -> None:
        """Print the help; argparse's own would hide that it could not be written."""
        print(self.format_help(), end="", file=file)

    def flags(self) -> dict[str, bool]:
        """Every flag that this parser knows, and whether it takes a value."""
        return {flag: action.nargs != 0 for action in self._actions for flag in action.option_strings}

    def commands(self) -> "dict[str, Parser]":
        """The parsers of the commands, by name."""
        choices = [
            action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction)
        ]
        return dict(choices[0]) if choices else {}


def parse(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line; ``settings`` of the namespace holds what was written as ``--rule.scale 0.5``.

    A command may have commands of its own: the last word that names one decides what flags there are.

    Args:
        parser: the parser of the whole program; a command that takes settings has the default ``sections``.
        arguments: what was typed after the program's name.

    Raises:
        UserMistake: an unknown command or flag (the nearest is suggested), a bad value, or a NUL in a word.
    """
    if wrong := next((word for word in arguments if "\0" in word), None):
        raise UserMistake(f"{wrong!r} holds a sign that no file, name or number does")
    chosen, words = parser, 0
    while commands := chosen.commands():
        command = next(iter(arguments[words:]), None)
        if command not in commands:
            return _parse_without_command(chosen, arguments[words:], command)
        chosen, words = commands[command], words + 1
    rest, settings = take_settings(arguments[words:], chosen.get_default("sections") or ())
    _refuse_unknown_flags(chosen, rest)
    namespace = parser.parse_args([*arguments[:words], *_join_negative_numbers(chosen, rest)])
    namespace.settings = settings
    return namespace


def add_command(
    subparsers: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    does: str,
    epilog: str,
    sections: Sequence[str] = (),
) -> Parser:
    """Declare a command with the flag that all of them have.

    Args:
        subparsers: what `argparse.ArgumentParser.add_subparsers` gave.
        name: the word that is typed.
        run: does the work and returns the exit code.
        does: one line for the list of commands.
        epilog: examples, and what the flags do not say.
        sections: which settings it takes: ``("rule",)`` for ``--rule.scale 0.5``.
    """
    parser = subparsers.add_parser(
        name, help=does, description=f"{does[:1].upper()}{does[1:]}.", epilog=epilog
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for programs to read")
    parser.set_defaults(run=run, sections=tuple(sections))
    return parser


def take_settings(arguments: Iterable[str], sections: Sequence[str]) -> tuple[list[str], Settings]:
    """Part the settings flags from the fixed ones.

    Args:
        arguments: what was typed after the command.
        sections: the words that may stand before the dot.

    Returns:
        The arguments that are left for argparse, and the settings by section.

    Example:
        >>> take_settings(["--lr", "0.1", "--rule.scale", "-1", "--net.widths=512,512"], ["rule", "net"])
        (['--lr', '0.1'], {'rule': {'scale': '-1'}, 'net': {'widths': '512,512'}})
    """
    rest: list[str] = []
    settings: Settings = {}
    queue = deque(arguments)
    while queue:
        token = queue.popleft()
        if token == "--":
            return [*rest, token, *queue], settings
        flag, equals, value = token.partition("=")
        if not (flag.startswith("--") and "." in flag):
            rest.append(token)
            continue
        section, name = _split_flag(flag, sections)
        settings.setdefault(section, {})[name] = value if equals else _next_value(flag, queue)
    return rest, settings


def _split_flag(flag: str, sections: Sequence[str]) -> tuple[str, str]:
    section, _, name = flag.removeprefix("--").replace("-", "_").partition(".")
    if section not in sections:
        raise UserMistake(_unknown_flag(flag, [f"--{known}.{name}" for known in sections]))
    if not name:
        raise UserMistake(f"{flag} names no setting: write --{section}.NAME VALUE")
    return section, name


def _next_value(flag: str, queue: deque[str]) -> str:
    if not queue or _is_flag(queue[0]):
        raise UserMistake(f"{flag} expects a value: write {flag} VALUE")
    return queue.popleft()


def _is_flag(token: str) -> bool:
    return len(token) > 1 and token.startswith("-") and not _NEGATIVE_NUMBER.match(token)


def _refuse_unknown_flags(parser: Parser, arguments: Sequence[str]) -> None:
    known = parser.flags()
    sections = parser.get_default("sections") or ()
    for token in arguments:
        if token == "--":
            return
        flag = token.partition("=")[0]
        if _is_flag(token) and flag not in known:
            meant = of_setting(flag, arguments, sections)
            if meant:
                raise UserMistake(f"unknown flag {flag}: did you mean {' or '.join(meant)}?")
            raise UserMistake(_unknown_flag(flag, list(known), sections))


def _unknown_flag(flag: str, known: Sequence[str], sections: Sequence[str] = ()) -> str:
    """One line on a flag that there is not, with the nearest of those that there are."""
    near = difflib.get_close_matches(flag, known, n=1, cutoff=0.7)
    flag = cut_short(flag, 80)
    if near:
        return f"unknown flag {flag}: did you mean {near[0]}?"
    if sections:
        places = " ".join(f"--{section}.NAME" for section in sections)
        return f"unknown flag {flag}; settings are written {places}; --help lists the other flags"
    return f"unknown flag {flag}; --help lists those there are"


def _join_negative_numbers(parser: Parser, arguments: Sequence[str]) -> list[str]:
    """Write ``--lr -1e-3`` as ``--lr=-1e-3``: argparse takes the former for two flags."""
    takes_value = parser.flags()
    joined: list[str] = []
    for token in arguments:
        if joined and takes_value.get(joined[-1]) and _NEGATIVE_NUMBER.match(token):
            joined[-1] = f"{joined[-1]}={token}"
        else:
            joined.append(token)
    return joined


def _parse_without_command(
    parser: Parser, arguments: Sequence[str], command: str | None
) -> argparse.Namespace:
    """``--help``, ``--version``, or a command that there is not."""
    if command is None or _is_flag(command):
        _refuse_unknown_flags(parser, arguments)
        return parser.parse_args(list(arguments) or ["--help"])
    near = difflib.get_close_matches(command, list(parser.commands()), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserMistake(
        f"unknown command {brief(command)}: {hint}Commands: {', '.join(parser.commands())}; --help says more"
    )
