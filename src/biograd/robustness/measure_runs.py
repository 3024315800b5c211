"""Many runs under attack, by any executor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biograd.executor import Executor, Local, Needs, results
from biograd.progress import shown
from biograd.records import Measurement
from biograd.robustness.measure import measure_run
from biograd.robustness.settings import AttackSettings
from biograd.training.needs import needs_of
from biograd.training.restored import configuration
from biograd.user_files import told


@dataclass(frozen=True)
class Attacked:
    """One run to attack.

    Attributes:
        run: its folder.
        settings: how.
        transfer_from: folders of runs, or that hold runs, on which transferred examples may be made.
        machine: ``device``, ``threads`` and ``data_dir``, where they are not those of the training.
    """

    run: Path
    settings: AttackSettings
    transfer_from: Sequence[Path] = ()
    machine: Mapping[str, Any] = field(default_factory=dict)


def measure_runs(
    attacked: Sequence[Attacked], *, executor: Executor | None = None, progress: bool | None = None
) -> list[Measurement]:
    """Attack runs, each as `measure_run` does, and leave what was measured in their folders.

    Args:
        attacked: the runs.
        executor: who attacks them; None for this process, one after another.
        progress: as for `measure_run`.

    Returns:
        The measurements, in the order of the runs.

    Raises:
        UserMistake: as for `measure_run`.
        RunFailed: a process was killed.
    """
    executor = executor or Local()
    if executor.is_here:
        return [_measured(one, progress) for one in attacked]
    with shown("runs under attack", 0, len(attacked), progress) as bar:
        return results(executor, _measured, attacked, bar.reach, _needs)


def _measured(one: Attacked, progress: bool | None = False) -> Measurement:
    with told():
        return measure_run(
            one.run, one.settings, transfer_from=one.transfer_from, progress=progress, **one.machine
        )


def _needs(one: Attacked) -> Needs:
    """Those of the run's training, on the device and in the threads that are given."""
    given = {key: value for key in ("device", "threads") if (value := one.machine.get(key)) is not None}
    config = configuration(one.run).model_copy(update=given)
    return needs_of(config, f"robustness of {one.run}")
