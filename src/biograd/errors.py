"""What can go wrong, in one family, so that a command knows a user's mistake from a fault."""

import errno
import os
import reprlib
from collections.abc import Sequence

from biograd.printable import cut_short, one_line

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlong, _SHORT.maxlevel = 40, 3


def brief(value: object) -> str:
    """A value as messages show it, on one line: of what is long, a beginning and an end.

    Example:
        >>> brief("fa"), brief(list(range(100)))
        ("'fa'", '[0, 1, 2, 3, 4, 5, ...]')
    """
    return cut_short(_SHORT.repr(value), 160)


class BiogradError(Exception):
    """The root of every error that biograd raises itself; its message is one line, whatever value it quotes."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class UserMistake(BiogradError, ValueError):
    """Something that the user can mend: one line with what came, what was expected and what to do.

    The command line prints the line and exits with 2.

    Args:
        message: the line.
        lines: those of the user's own files that an error came through, as Python shows them; printed below.
    """

    def __init__(self, message: str = "", lines: str = "") -> None:
        super().__init__(message)
        self.lines = lines


class UnsupportedNet(UserMistake):
    """A rule cannot teach this net; the message says what stands in the way and which rules would do."""


class DataUnavailable(UserMistake):
    """A data set is neither in the folder nor to be downloaded, or its files are not the official ones."""


class CheckpointError(UserMistake):
    """A checkpoint is corrupted, incomplete or of another run."""


class RunFailed(BiogradError):
    """A run could not be finished (it diverged, or the disk is full); the command line exits with 1."""


_NOT_THERE = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO}


def unreadable(path: str | os.PathLike[str], error: OSError, expected: str) -> BiogradError:
    """What to raise of a file that cannot be read.

    Args:
        path: of the file.
        error: what the system raised.
        expected: what it should have been.

    Returns:
        A mistake, where there is no such file; a failure, where the disk or the file system refuses.
    """
    if error.errno in _NOT_THERE:
        return UserMistake(f"cannot read {path}: {error.strerror}; expected {expected}")
    return RunFailed(f"cannot read {path}: {error.strerror or error}")


def unwritable(path: str | os.PathLike[str], error: OSError) -> "RunFailed":
    """What to raise of a file that cannot be written, and of which nothing is half written."""
    return RunFailed(f"cannot write {path}: {error.strerror or error}; what was there is as it was")


class NotFinite(RunFailed):
    """A rule met numbers that are not finite where it goes on computing; a training ends there as diverged."""


def listed(items: Sequence[str], most: int = 6) -> str:
    """Items for a message, all of them or the first few and how many more there are.

    Example:
        >>> listed(["a", "b"]), listed(list("abcde"), most=3)
        ('a, b', 'a, b, c and 2 more')
    """
    more = len(items) - most
    return ", ".join(items) if more <= 0 else f"{', '.join(items[:most])} and {more} more"
