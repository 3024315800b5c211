import gc
import json
from collections.abc import Callable
from typing import BinaryIO

import pytest

from biograd.cli import main


def pytest_collection_finish() -> None:
    """Set all that is imported by now aside, or every `gc.collect` would spend half a second on it."""
    gc.collect()
    gc.freeze()


class Ended:
    """How a command ended: exit code, standard output, standard error."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def row(self) -> dict:
        """The last line of standard output as strict JSON."""
        return json.loads(self.out.splitlines()[-1], parse_constant=_refuse)

    @property
    def mistake(self) -> str:
        """The one line that a user's mistake leaves."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


BLANK = {"svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="1pt" height="1pt"/>', "pdf": b"%PDF-1.4"}


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are painted but not rendered, which takes most of a report's time: for tests of what is around them."""
    from matplotlib.figure import Figure

    def save(figure: Figure, file: BinaryIO, *, format: str, **_: object) -> None:
        file.write(BLANK[format])

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture
def biograd(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a command in this process: ``biograd("train", "--rule", "fa")``, or as one string of words."""

    def call(*words: object) -> Ended:
        capsys.readouterr()
        typed = words[0].split() if len(words) == 1 and isinstance(words[0], str) else map(str, words)
        code = main(list(typed))
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call
