"""Work that is done away from the process that asks for it: where it finds its files, and how its errors come home."""

import contextlib
import importlib.util
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biograd import __version__
from biograd.errors import RunFailed, UserMistake

VARIABLES = ("BIOGRAD_", "MLFLOW_")
"""How the environment variables begin that decide where a run finds data and trackers."""


@dataclass(frozen=True)
class Home:
    """Where work was asked for, which relative paths and imports depend on.

    Attributes:
        folder: the working folder, which all machines have at the same path.
        variables: of the environment.
        imports: the folders that modules are looked for in.
        version: of biograd.
    """

    folder: Path
    variables: dict[str, str]
    imports: list[str]
    version: str = __version__

    @classmethod
    def here(cls) -> "Home":
        """That of this process."""
        variables = {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}
        return cls(Path.cwd(), variables, [os.path.abspath(folder) for folder in sys.path])

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Work as if in the process that asked.

        Raises:
            UserMistake: this machine does not have the folder, or has another biograd.
        """
        if self.version != __version__:
            raise UserMistake(
                f"{socket.gethostname()} has biograd {__version__}, and the command was given with {self.version}: "
                "install the same on all machines"
            )
        before, imports = dict(os.environ), list(sys.path)
        try:
            with contextlib.chdir(self.folder):
                os.environ.update(self.variables)
                sys.path += [folder for folder in self.imports if folder not in sys.path]
                yield
        except FileNotFoundError as error:
            if self.folder.is_dir():
                raise
            raise UserMistake(
                f"{socket.gethostname()} has no folder {self.folder}, from which the command was given: give it in a "
                "folder that all machines share, at the same path"
            ) from error
        finally:
            os.environ.clear()
            os.environ.update(before)
            sys.path[:] = imports


@dataclass(frozen=True)
class Order:
    """A piece of work on its way.

    Attributes:
        home: where it was asked for.
        work: function and item, pickled, since modules of the user's are found only at home.
    """

    home: Home
    work: bytes

    @classmethod
    def of(cls, home: Home, work: Callable[[Any], Any], item: Any) -> "Order":
        """The order to do some work for an item."""
        return cls(home, pickle.dumps((work, item)))


def carried_out(order: Order) -> bytes:
    """Do the work; what it gives, or raises, pickled for `opened`."""
    try:
        with order.home.entered():
            work, item = pickle.loads(order.work)  # noqa: S301  of a process of ours, which began this one
            return pickle.dumps((work(item), None, ""))
    except Exception as error:  # whatever it is, it is raised at home
        return pickle.dumps((None, _sendable(error), traceback.format_exc()))


def opened(done: bytes) -> Any:
    """What the work gave.

    Raises:
        Exception: what the work raised, with the place where it did as its cause.
    """
    result, error, place = pickle.loads(done)  # noqa: S301  as above
    if error is not None:
        raise error from RaisedElsewhere(place)
    return result


class RaisedElsewhere(Exception):
    """Where an error was raised, in another process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def require(package: str, engine: str, extra: str) -> None:
    """Refuse to go on without a package.

    Args:
        package: what is imported.
        engine: what needs it.
        extra: the extra of biograd's that brings it.

    Raises:
        UserMistake: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise UserMistake(
            f"engine {engine!r} needs the package {package}, which is not installed: pip install 'biograd[{extra}]'"
        )


def _sendable(error: Exception) -> Exception:
    """The error, or its words where it cannot be pickled and made again."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  of this process
    except Exception:  # whatever its class does
        return RunFailed(f"{type(error).__name__}: {error}")
    return error
