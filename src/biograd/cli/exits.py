"""How a command ends: its exit code, and the one line it leaves when it could not do what was asked."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator

from biograd.errors import BiogradError, UserMistake
from biograd.printable import one_line
from biograd.user_files import told

DONE, FAILED, MISTAKE = 0, 1, 2
INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + the signal's number, as a shell reports them


def guarded(program: str, work: Callable[[], int]) -> int:
    """Run a command and turn what went wrong into an exit code and one line on standard error.

    A mistake of the user's is 2, a run that failed or a file system that refused is 1, an interrupt
    130, a reader that went away (``| head``) 141 without a word; too little memory is 1. What a user's own
    file raises is followed by the lines of it. Anything else is a fault of ours and keeps its traceback.

    Args:
        program: what the line begins with, ``"biograd train"``.
        work: the command, returning its exit code; the notes of an exception are said too.
    """
    try:
        with _warnings_on_one_line(program), told():
            code = work()
        _flush()
    except UserMistake as error:
        return _say(program, error, MISTAKE)
    except BrokenPipeError:
        _drop_what_cannot_be_written()
        return PIPE_CLOSED
    except KeyboardInterrupt as error:
        return _say(program, error, INTERRUPTED, "interrupted")
    except (BiogradError, OSError) as error:
        _drop_what_cannot_be_written()
        return _say(program, error, FAILED)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return _say(program, error, FAILED, "not enough memory: a smaller net or batch needs less")
    return code


def replace_unprintable_signs() -> None:
    """Print a question mark for a sign that the terminal's encoding lacks, where Python would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def _warnings_on_one_line(program: str) -> Iterator[None]:
    """Show what biograd warns of as one line and once, where Python shows a file and a line of code too."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: object) -> None:
        line = one_line(str(message))
        if line not in shown:
            print(f"{program}: warning: {line}", file=sys.stderr)
        shown.add(line)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning, module=r"biograd\b")
        warnings.showwarning = show
        yield


def _say(program: str, error: BaseException, code: int, message: str | None = None) -> int:
    line = "; ".join([message or _describe(error), *getattr(error, "__notes__", [])])
    print(f"{program}: {one_line(line)}", file=sys.stderr)
    if isinstance(error, UserMistake):
        print(error.lines, end="", file=sys.stderr)
    return code


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch has an exception of its own for a full GPU, and for the CPU's memory no more than a message."""
    signs = ("out of memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


def _flush() -> None:
    if sys.stdout is not None:  # None when the program was started with a closed standard output
        sys.stdout.flush()


def _drop_what_cannot_be_written() -> None:
    """Send it nowhere, or the interpreter would try again at its end, and complain."""
    try:
        _flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
