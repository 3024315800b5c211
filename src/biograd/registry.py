"""One way to name rules, nets and data sets: built in, by entry point, or as ``file.py:Name``."""

import difflib
import functools
import importlib
import os
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from biograd.errors import UserMistake, brief
from biograd.handed import Handed, is_handed
from biograd.user_files import file_of, imported, is_users_own


class Registry:
    """Short names and the constructors they stand for, imported only when one is asked for.

    Args:
        kind: what is registered, in the singular ("rule"); used in messages.
        built_in: name to ``"module:attribute"``.
        group: the entry-point group in which other packages register theirs.
        readers: ``"folder:PATH"`` to ``"module:attribute"``: constructors that are given, before all else, the path
            that a user writes behind the colon.
        adapter: ``"module:attribute"`` of what makes a constructor of an object of the user's own; None where only
            constructors are given.
        expected: what may be given or named in a file.

    Example:
        >>> shapes = Registry("shape", {"ordered": "collections:OrderedDict"}, "biograd.shapes")
        >>> shapes.names()
        ['ordered']
        >>> shapes.find("orderd")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        biograd.errors.UserMistake: unknown shape 'orderd': did you mean 'ordered'? Known: ordered; or give ...
    """

    def __init__(
        self,
        kind: str,
        built_in: Mapping[str, str],
        group: str,
        readers: Mapping[str, str] | None = None,
        adapter: str | None = None,
        expected: str = "a class or function",
    ) -> None:
        self.kind = kind
        self._built_in = dict(built_in)
        self._group = group
        self._readers = dict(readers or {})
        self._adapter = adapter
        self._expected = expected

    def names(self) -> list[str]:
        """Every registered name, the built-in ones first."""
        return [*self._built_in, *(name for name in self._installed() if name not in self._built_in)]

    def built_in(self) -> list[str]:
        """The names that come with biograd."""
        return list(self._built_in)

    def forms(self) -> list[str]:
        """What is written for the user's own files: ``folder:PATH``."""
        return list(self._readers)

    def with_path(self, name: str, change: Callable[[str], str]) -> str:
        """A name with the path in it changed, where it is of one of the `forms`; others as they are."""
        form, path = self._form(name)
        return name if form is None or not path.strip() else f"{form.partition(':')[0]}:{change(path)}"

    def places(self) -> list[tuple[str, str]]:
        """Module and attribute of everything that comes with biograd."""
        return [
            (module, attribute)
            for module, _, attribute in (p.partition(":") for p in self._built_in.values())
        ]

    def find(self, name: str | Callable[..., Any]) -> Callable[..., Any]:
        """The constructor that ``name`` stands for; an object that is given stands for itself.

        Raises:
            UserMistake: the name is unknown, or what it stands for cannot be imported or called.
        """
        if not isinstance(name, str):
            return self._callable(self.called(name), name)
        if isinstance(name, Handed):
            return self._callable(self.called(name), name.given)
        if is_handed(name):
            raise UserMistake(
                f"{self.called(name)} was an object of a program, which knows it alone: go on there, with "
                f'objects={{"{self.kind.partition(" ")[0]}": …}} for biograd.training.resume and the like'
            )
        if name in self._built_in:
            return self._imported(self._built_in[name])
        form, path = self._form(name)
        if form is not None:
            return _reading(self._imported(self._readers[form]), self._path(form, path))
        if is_users_own(name):
            return self._callable(f"{self.kind} {name!r}", self._from_file(name))
        installed = self._installed()
        if name in installed:
            return self._callable(self.called(name), self._load(installed[name]))
        raise UserMistake(self._unknown(name))

    def name_of(self, constructor: Any) -> str | None:
        """The name of a constructor that comes with biograd, None for any other."""
        place = f"{getattr(constructor, '__module__', '')}:{getattr(constructor, '__qualname__', '')}"
        return next((name for name, own in self._built_in.items() if own == place), None)

    def called(self, name: str | Callable[..., Any]) -> str:
        """What messages call a name, or a constructor in its place: ``rule 'fa'``, ``rule Mine``."""
        return (
            f"{self.kind} {brief(name) if isinstance(name, str) else getattr(name, '__name__', brief(name))}"
        )

    def _imported(self, place: str) -> Callable[..., Any]:
        module, attribute = place.split(":")
        return getattr(importlib.import_module(module), attribute)

    def _form(self, name: str) -> tuple[str | None, str]:
        """Which of the `forms` a name is of, None for none, and the path in it."""
        reader, _, path = name.partition(":")
        return next((form for form in self._readers if form.partition(":")[0] == reader), None), path

    def _path(self, form: str, path: str) -> str:
        if not path.strip():
            raise UserMistake(
                f"{self.kind} {form.partition(':')[0]!r} is of files of your own: say which, {form}"
            )
        return path

    def _installed(self) -> dict[str, Any]:
        return {point.name: point for point in entry_points(group=self._group)}

    def _load(self, point: Any) -> Any:
        try:
            return point.load()
        except Exception as error:  # whatever the other package raises when it is imported
            reason = f"{type(error).__name__}: {error}"
            raise UserMistake(
                f"{self.kind} {point.name!r} ({point.value}) cannot be imported: {reason}"
            ) from error

    def _callable(self, name: str, found: Any) -> Callable[..., Any]:
        if self._adapter is not None:
            found = self._imported(self._adapter)(found)
        if not callable(found):
            raise UserMistake(f"{name} is of type {type(found).__name__}; expected {self._expected}")
        return found

    def _from_file(self, name: str) -> Callable[..., Any]:
        file, attribute = file_of(name), name.rpartition(":")[2]
        if not file.is_file():
            raise UserMistake(f"{self.kind} {name!r}: there is no file {file}; expected path/to/file.py:Name")
        module = imported(file)
        if not hasattr(module, attribute):
            raise UserMistake(f"{self.kind} {name!r}: {file} defines no {attribute!r}")
        return getattr(module, attribute)

    def _unknown(self, name: str) -> str:
        if name.endswith(".py"):
            return f"{self.kind} {name!r} is a file: say what of it, {name}:NAME"
        if form := self._form_of(os.path.expanduser(name)):
            return f"{self.kind} {brief(name)} is of files of your own: give it as {brief(f'{form}:{name}')}"
        known = [*self.names(), *self.forms()]
        by_case = {one.lower(): one for one in known}
        near = difflib.get_close_matches(name.lower(), by_case, n=1, cutoff=0.5)
        hint = f"did you mean {by_case[near[0]]!r}? " if near else ""
        return f"unknown {self.called(name)}: {hint}Known: {', '.join(known)}; or give path/to/file.py:Name"

    def _form_of(self, path: str) -> str:
        """Which of the `forms` reads a path that is written alone, told by its ending; empty for none."""
        is_folder, ending = os.path.isdir(path), os.path.splitext(path)[1].lower()
        for form in self._readers:
            reader, _, file = form.partition(":")
            fits = is_folder if file == "PATH" else ending == (os.path.splitext(file)[1] or ".txt")
            if fits:
                return reader
        return ""


def _reading(constructor: Callable[..., Any], path: str) -> Callable[..., Any]:
    """A constructor that has its path; docstring and settings stay its own."""

    @functools.wraps(constructor)
    def bound(*args: Any, **settings: Any) -> Any:
        return constructor(path, *args, **settings)

    return bound
