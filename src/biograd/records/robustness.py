"""What was measured of a run under attack: one file in its folder, a measurement a setting."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from typing_extensions import TypedDict

from biograd.errors import RunFailed
from biograd.records.file_names import ROBUSTNESS
from biograd.records.files import write_json
from biograd.records.places import refuse_packed
from biograd.records.reading import as_row, if_there, read_row
from biograd.records.rows import Environment
from biograd.records.schema import Count, Number, Share, Time, row

_LOCK = f".{ROBUSTNESS}.lock"
_ADVICE = "restore it, or remove it and measure again"


@row
class AttackSettingsRow(TypedDict):
    """How attacks were made; see `biograd.robustness.Settings`."""

    attacks: list[str]
    gradients: list[Literal["true", "rule"]]
    epsilons: list[Number]
    steps: Count
    step_size: Number | None
    restarts: Count
    queries: Count
    examples: Count | None
    seed: Count


@row
class AttackRow(TypedDict):
    """What one attack of one size left right; where there is a ``reason`` it was not made, and there are no numbers."""

    attack: str
    gradient: str
    """``true``, ``rule``, ``none``, or ``transfer:`` and the run that the examples were made on."""
    epsilon: Number | None
    accuracy: Share | None
    balanced_accuracy: Share | None
    reason: str | None


@row
class Scores(TypedDict):
    """What is right of the examples, and the mean over classes of the share of each."""

    accuracy: Share
    balanced_accuracy: Share


@row
class Clean(Scores):
    """The run without an attack."""

    logit_scale: Number | None
    """Mean magnitude of the margin between the right logit and the largest other."""
    zero_gradients: dict[str, Share | None]
    """Share of the inputs whose gradient is exactly zero, by the kind of gradient."""


@row
class MaskingCheck(TypedDict):
    """One check of masked gradients: passed, failed, or not made (None), and what was seen."""

    name: str
    passed: bool | None
    seen: str


@row
class Verdict(TypedDict):
    """Whether the attacks can be trusted; see `biograd.robustness.masking.verdict`."""

    masking: str
    """``suspected``, ``not decided`` or ``not seen``."""
    reasons: list[str]
    checks: list[MaskingCheck]


@row
class Measured(TypedDict):
    """What the attacks of one setting left right of a run."""

    run: str
    key: str
    """A fingerprint of the settings: what may be compared has the same."""
    settings: AttackSettingsRow
    unit: str
    """What ε is counted in."""
    lower: Number | None
    upper: Number | None
    examples: Count
    classes: list[str]
    source: str | None
    """The run that transferred examples were made on, None where there was none."""
    clean: Clean
    rows: list[AttackRow]
    verdict: Verdict
    environment: Environment
    seconds: Time


@row
class Measurement(Measured):
    """A measurement as the file holds it."""

    test_reads: Count
    """How often the run's test set had been read by then, once by training."""


@row
class Robustness(TypedDict):
    """``robustness.json``."""

    reads: Count
    """How often attacks have read the test set."""
    measurements: list[Measurement]
    """The newest last."""


def read_measurements(folder: str | os.PathLike[str]) -> list[Measurement]:
    """The measurements in a run's folder, the newest last; none when there is no file.

    Raises:
        UserMistake: the file is damaged.
    """
    return _content(Path(folder))["measurements"]


def measurements_of(path: Path, value: object) -> list[Measurement]:
    """The measurements of what ``robustness.json`` holds.

    Raises:
        UserMistake: it is no record of attacks.
    """
    return as_row(path, Robustness, value, _ADVICE)["measurements"]


def add_measurement(folder: str | os.PathLike[str], measured: Measured) -> Measurement:
    """Add a measurement to a run's folder, in one step, in the place of one that was made alike.

    Alike are those of one ``key`` (a fingerprint of the settings) and one ``source`` of transferred examples. Others
    are kept, and none is ever mixed with another.

    Returns:
        The measurement, with ``test_reads``.

    Raises:
        UserMistake: the file is damaged, or packed.
        RunFailed: it cannot be written.
    """
    refuse_packed(folder)
    with _alone(Path(folder)):
        content = _content(Path(folder))
        reads = content["reads"] + 1
        added: Measurement = {**measured, "test_reads": 1 + reads}
        others = [one for one in content["measurements"] if _identity(one) != _identity(added)]
        write_json(Path(folder) / ROBUSTNESS, {"reads": reads, "measurements": [*others, added]})
    return added


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let processes that add to one file at the same time do so one after the other, so that none is lost."""
    try:
        with open(folder / _LOCK, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise RunFailed(f"cannot write to {folder}: {error.strerror}; what was there is as it was") from error


def _content(folder: Path) -> Robustness:
    empty: Robustness = {"reads": 0, "measurements": []}
    return if_there(lambda path: read_row(path, Robustness, _ADVICE), folder / ROBUSTNESS, empty)


def _identity(measurement: Mapping[str, Any]) -> tuple[Any, Any]:
    return measurement["key"], measurement["source"]
