"""A run under every attack: curves of accuracy over ε, each with the source of its gradient, and a verdict."""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from biograd import records
from biograd.errors import UserMistake
from biograd.progress import shown
from biograd.records import Measurement, Run
from biograd.records.robustness import AttackRow, Measured
from biograd.robustness.curves import Curve, at_large, evidence, excuse, measured, plans, second_look
from biograd.robustness.domain import require_numbers
from biograd.robustness.masking import in_doubt, verdict
from biograd.robustness.scores import accuracy
from biograd.robustness.settings import AttackSettings
from biograd.robustness.transfer import candidates, find_source
from biograd.robustness.victim import Victim
from biograd.training.restored import Restored, configuration, restored
from biograd.training.run_setup import find_device
from biograd.training.seeding import settled


def measure_run(
    run: str | os.PathLike[str],
    settings: AttackSettings | None = None,
    *,
    transfer_from: Sequence[str | os.PathLike[str]] = (),
    device: str | None = None,
    threads: int | None = None,
    data_dir: str | None = None,
    objects: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Measurement:
    """Attack a finished run, and add what was measured to its folder as ``robustness.json``.

    An example counts as right under an attack if it is right both before and after, so that no curve lies above
    the clean accuracy. Attacks follow the cross-entropy, whatever loss the run was trained with. Measuring again
    with the same settings replaces; other settings are kept beside.

    Args:
        run: the run's folder.
        settings: what to measure; None for the defaults.
        transfer_from: folders of runs, or that hold runs, from which the source of transferred examples is chosen:
            of the same task and test examples, backpropagation and the same seed first.
        device: where to compute; None for where the run was trained.
        threads: within an operation; None for as many as the run was trained with.
        data_dir: where the data lies; None for where the run found it.
        objects: rule, net, data or loss of the run where they were objects; as for `biograd.training.resume`.
        progress: whether to draw a bar; None draws it when standard error is a terminal.

    Returns:
        The measurement: ``run key settings unit lower upper examples classes clean rows verdict source environment
        seconds test_reads``. ``clean`` holds ``accuracy``, ``balanced_accuracy``, ``logit_scale`` (mean magnitude of
        the margin between the right logit and the largest other) and ``zero_gradients`` (share of inputs with a
        gradient that is exactly zero, by source). Each of ``rows`` has ``attack gradient epsilon accuracy
        balanced_accuracy reason``; where ``reason`` is given, that attack was not made and the numbers are null.

    Raises:
        UserMistake: the run is not finished or has left the test set unread, or the runs to transfer from are of
            another task.
        CheckpointError: the run's checkpoint is damaged.
    """
    path, settings = Path(run), settings or AttackSettings()
    require_classes(Run.load(path))
    require_test(Run.load(path))
    others = [other for folder in transfer_from for other in records.find_runs(folder)]
    likely = candidates(Run.load(path), others) if "transfer" in settings.attacks else []
    config = configuration(path, device=device, data_dir=data_dir, objects=objects)
    place, start = find_device(config), time.perf_counter()
    with settled(
        seed=settings.seed,
        threads=threads or config.threads,
        deterministic=config.deterministic,
        device=place,
    ):
        attacked = restored(path, device=str(place), data_dir=data_dir, objects=objects)
        require_numbers(attacked.dataset)
        source = find_source(attacked, likely)
        found = _measured(attacked, source, settings, progress)
        found["seconds"] = time.perf_counter() - start
    return records.add_measurement(path, found)


def require_classes(run: Run) -> None:
    """Refuse a run that tells no classes apart, as an attack makes a net take one class for another.

    Raises:
        UserMistake: it does not.
    """
    if run.kind != "classes":
        raise UserMistake(
            f"{run.folder} is a run of {run.kind}, and attacks make a net take one class for another: attack a run "
            "that tells classes apart"
        )


def require_test(run: Run) -> None:
    """Refuse a run that was to leave the test set unread, as attacks are on test examples.

    Raises:
        UserMistake: it was.
    """
    if not run.config.get("read_test", True):
        raise UserMistake(
            f"{run.folder} was trained with read_test = false, and attacks read the test set: attack a run that "
            "was trained with it"
        )


def _measured(
    run: Restored, source: Restored | None, settings: AttackSettings, progress: bool | None
) -> Measured:
    """Everything but how long it took."""
    victim = Victim(run, settings.examples, settings.seed)
    sizes = settings.epsilons or victim.domain.epsilons
    settings = dataclasses.replace(settings, epsilons=sizes)
    zero = {
        name: victim.without_gradient(name) if excuse(victim, name) is None else None
        for name in settings.gradients
    }
    planned = list(plans(victim, source, settings))
    with shown(f"attacks on {run.title}", 0, len(planned) * len(sizes), progress) as bar:
        curves = measured(victim, planned, sizes, bar)
        found = evidence(curves, at_large(victim, curves, settings), zero.get("true"))
        looked = second_look(victim, settings, in_doubt(found))
    return {
        "run": str(run.folder),
        "key": _key(settings, victim.domain.unit),
        "settings": settings.to_json(),
        "unit": victim.domain.unit,
        "lower": victim.domain.lower,
        "upper": victim.domain.upper,
        "examples": len(victim.y),
        "classes": list(run.dataset.task.names),
        "source": source.title if source else None,
        "clean": {
            **victim.scores(victim.clean),
            "logit_scale": victim.logit_scale(),
            "zero_gradients": {name: None if one is None else accuracy(one) for name, one in zero.items()},
        },
        "rows": [row for one in curves for row in _rows(victim, one)],
        "verdict": verdict(dataclasses.replace(found, second_look=looked)),
        "environment": records.environment(),
        "seconds": 0.0,
    }


def _rows(victim: Victim, one: Curve) -> Iterator[AttackRow]:
    nothing: AttackRow = {
        "attack": one.attack,
        "gradient": one.gradient,
        "epsilon": None,
        "accuracy": None,
        "balanced_accuracy": None,
        "reason": one.reason,
    }
    if one.reason is not None:
        yield nothing
    for epsilon, right in one.right.items():
        yield {**nothing, "epsilon": epsilon, **victim.scores(right)}


def _key(settings: AttackSettings, unit: str) -> str:
    """A fingerprint of all that runs which are compared must have in common."""
    decisive = {**settings.to_json(), "unit": unit}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
