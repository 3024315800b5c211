"""Python files of the user's own: each is read once a process, and known by its content and that of what it imports."""

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from biograd.errors import BiogradError, UserMistake, cut_short

SEPARATOR = ".py:"
"""Between the file and what is named in it: ``path/to/file.py:Name``."""

FRAMES_SHOWN = 10
"""Of the user's own lines that an error came through, the last."""


@dataclass(frozen=True)
class _Source:
    """A file as it was when this process read it."""

    text: bytes
    files: dict[str, str]
    """It and the user's own files that it imports, whole paths to SHA-256."""
    modules: list[ModuleType] = field(default_factory=list)
    """The one that it was imported as, none before."""


_SOURCES: dict[Path, _Source] = {}


def is_users_own(name: str) -> bool:
    """Whether a name is ``path/to/file.py:Name``."""
    return SEPARATOR in name


def file_of(name: str) -> Path:
    """The whole path of the file in ``path/to/file.py:Name``."""
    return Path(name.rpartition(":")[0]).expanduser().resolve()


def without_folders(value: Any) -> Any:
    """Settings with every ``path/to/file.py:Name`` among them as ``file.py:Name``."""
    if isinstance(value, Mapping):
        return {key: without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(part) for part in value]
    return Path(value).name if isinstance(value, str) and is_users_own(value) else value


def imported(file: Path) -> ModuleType:
    """The module of a file, imported once a process, under a name of its own.

    Raises:
        UserMistake: it cannot be read, or what it does when it is imported fails; it may be mended then.
    """
    source = _source(file)
    if not source.modules:
        try:
            source.modules.append(_executed(file, source.text))
        except BaseException:
            del _SOURCES[file]
            raise
    return source.modules[0]


def contents(file: Path) -> dict[str, str]:
    """The file and the user's own files that it imports, whole paths to SHA-256, as this process uses them.

    Of the modules that an ``import`` names, in the file or in another such file, those count that lie beside the file
    that names them, and those that are found elsewhere but in Python's library, among installed packages or in
    biograd. What is imported by computed names, or read in another way, is not seen.
    """
    return dict(_source(file).files)


def digest(file: Path) -> str | None:
    """SHA-256 of a file as it is now, None where it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def renew(names: Iterable[str]) -> None:
    """Read again the files of names that have changed since this process read them, so that they are imported anew."""
    for file in {file_of(name) for name in names if is_users_own(name)}:
        known = _SOURCES.get(file)
        if known is not None and digest(file) is not None and known.files != (now := _read(file)).files:
            _forget({path for path in known.files if known.files[path] != now.files.get(path)})
            _SOURCES[file] = now


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Tell what the user's own files raise inside in one line and their own; what passes through none goes on.

    Raises:
        UserMistake: in place of it.
    """
    try:
        yield
    except Exception as error:
        if not is_a_mistake(error) or not lines_of(error):
            raise
        raise failed(f"{_last_file(error)} failed", error) from error


def is_a_mistake(error: Exception) -> bool:
    """Whether a user's own code is to blame for what it raised, and not memory, a disk, or biograd."""
    if isinstance(error, OSError):
        return isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError | PermissionError)
    of_memory = any(sign in str(error) for sign in ("out of memory", "can't allocate memory"))
    return not (isinstance(error, BiogradError | MemoryError) or of_memory)


def failed(what: str, error: BaseException, advice: str = "") -> UserMistake:
    """What to raise in place of an error that came out of a user's own code: one line, and the user's lines in it.

    Args:
        what: what failed, ``"rule 'mine.py:Mine' failed"``.
        error: what was raised.
        advice: what the line adds.
    """
    first = next(iter(str(error).strip().splitlines()), "")
    reason = f"{type(error).__name__}: {cut_short(first)}".removesuffix(": ")
    message = f"{what}: {reason}{f'; {advice}' if advice else ''}"
    return UserMistake(message, lines_of(error))


def lines_of(error: BaseException) -> str:
    """The lines of the user's own files that an error came through, as Python shows them, or nothing."""
    return "".join(traceback.StackSummary.from_list(_frames(error)[-FRAMES_SHOWN:]).format())


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The places in the user's own files that an error came through, the innermost last."""
    known = {path for source in _SOURCES.values() for path in source.files}
    found = [_shown(frame) for frame in traceback.extract_tb(error.__traceback__) if frame.filename in known]
    if isinstance(error, SyntaxError) and error.filename in known:
        found.append(traceback.FrameSummary(error.filename, error.lineno, "<module>", line=error.text or ""))
    return found


def _shown(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    """A place with its line as it was when the file was read."""
    source, place = _SOURCES.get(Path(frame.filename)), frame.lineno or 0
    lines = source.text.decode(errors="replace").splitlines() if source else []
    line = lines[place - 1] if 0 < place <= len(lines) else frame.line
    return traceback.FrameSummary(frame.filename, place, frame.name, line=line)


def _last_file(error: BaseException) -> str:
    return _frames(error)[-1].filename


def _source(file: Path) -> _Source:
    if file not in _SOURCES:
        _SOURCES[file] = _read(file)
    return _SOURCES[file]


def _read(file: Path) -> _Source:
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UserMistake(f"{file} cannot be read: {error.strerror}") from error
    found: dict[Path, None] = {}
    _follow(file, text, found)
    digests = {str(path): digest(path) for path in found if path != file}
    own = {str(file): hashlib.sha256(text).hexdigest()}
    return _Source(text, own | {path: digest for path, digest in digests.items() if digest is not None})


def _executed(file: Path, text: bytes) -> ModuleType:
    """A new module of a file, made of the text that was read; nothing compiled before is taken in its place."""
    name = f"biograd_user_{file.stem}_{abs(hash(str(file))):x}"
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # its key is a time in seconds and a size
    try:
        exec(compile(text, str(file), "exec"), vars(module))  # noqa: S102  the user named it to be run
    except Exception as error:
        del sys.modules[name]
        raise failed(f"{file} cannot be imported", error) from error
    finally:
        sys.dont_write_bytecode = kept
    return module


def _forget(files: set[str]) -> None:
    """Let modules of files that have changed be imported anew."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) in files:
            del sys.modules[name]
    importlib.invalidate_caches()


def _follow(file: Path, text: bytes, found: dict[Path, None]) -> None:
    """Add a file and the user's own files that it imports, and they in turn."""
    found[file] = None
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return  # importing it says what is wrong
    for path in (path for name in _imports(tree) for path in _places(name, file.parent)):
        if path not in found:
            with contextlib.suppress(OSError):
                _follow(path, path.read_bytes(), found)


def _imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that import statements speak of, within functions too; relative ones begin with dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = "." * node.level + (node.module or "")
            yield from (
                f"{above}.{alias.name}" if node.module else above + alias.name for alias in node.names
            )


def _places(name: str, folder: Path) -> Iterator[Path]:
    """The user's own files that importing a dotted name reads, packages included."""
    bare = name.lstrip(".")
    level = len(name) - len(bare)
    if level:
        folder = folder.joinpath(*[".."] * (level - 1)).resolve()
    parts = bare.split(".")
    elsewhere = None if level else _found_elsewhere(parts[0])
    for base in filter(None, (folder, elsewhere)):  # the file may put its own folder on the path when it runs
        for depth, part in enumerate(parts):
            yield from _module_in(base.joinpath(*parts[:depth]), part)


def _module_in(folder: Path, part: str) -> list[Path]:
    """The module, or the package's ``__init__``, of a name in a folder."""
    return [path for path in (folder / f"{part}.py", folder / part / "__init__.py") if path.is_file()]


def _found_elsewhere(name: str) -> Path | None:
    """The folder in which Python finds a module, where it is the user's own."""
    if name in sys.stdlib_module_names or name == "biograd":
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    places = [*(spec.submodule_search_locations or [])] if spec else []
    first = Path(places[0]).parent if places else Path(spec.origin).parent if spec and spec.origin else None
    return None if first is None or is_installed(first) else first


def is_installed(folder: Path) -> bool:
    """Whether a file or folder is Python's own or of an installed package."""
    library = Path(sysconfig.get_path("stdlib"))
    return folder.is_relative_to(library) or not {"site-packages", "dist-packages"}.isdisjoint(folder.parts)


def names_in(value: Any) -> list[str]:
    """The names ``path/to/file.py:Name`` among settings, those of strategies included.

    Example:
        >>> names_in({"decoder": "mine.py:Mirror", "form": {"name": "limit", "settings": {}}, "scale": 2})
        ['mine.py:Mirror']
    """
    if isinstance(value, dict):
        return [name for item in value.values() for name in names_in(item)]
    if isinstance(value, list | tuple):
        return [name for item in value for name in names_in(item)]
    return [value] if isinstance(value, str) and is_users_own(value) else []
