"""Transfer: attacks that are made on one run and tried on another, which need nothing of the other's gradient."""

from collections.abc import Iterator, Sequence

import torch

from biograd.errors import UserMistake
from biograd.records import Run
from biograd.training.restored import Restored, restored


def candidates(run: Run, others: Sequence[Run]) -> list[Run]:
    """The finished runs of the same task that an attack on a run can be made on, the likeliest first.

    Those that backpropagation trained come first, then those of the run's own seed. The run itself is none of them.

    Raises:
        UserMistake: there are other runs, and all of them learned something else.
    """
    alike = [other for other in others if _task(other) == _task(run) and other.status == "done"]
    if others and not alike:
        names = ", ".join(sorted({_spell(other) for other in others}))
        raise UserMistake(
            f"an attack on {run.folder} ({_spell(run)}) cannot be made on runs of another task ({names}): give a "
            "finished run of the same data, with the same class against the rest if it is one"
        )
    apart = [other for other in alike if other.folder.resolve() != run.folder.resolve()]
    return sorted(apart, key=lambda other: (other.rule != "bp", other.seed != run.seed, other.folder))


def find_source(victim: Restored, runs: Sequence[Run]) -> Restored | None:
    """The first of several runs that has the test examples of the victim, ready to be attacked; None if none has.

    Data sets without an official split have other test examples for each seed.
    """
    return next((source for source in _opened(victim, runs) if _sees_the_same(source, victim)), None)


def _opened(victim: Restored, runs: Sequence[Run]) -> Iterator[Restored]:
    for run in runs:
        names = victim.config.objects
        shared = {key: name for key, name in names.items() if run.config[key]["name"] == name}
        device, data_dir = str(victim.device), victim.config.data_dir
        yield restored(run.folder, device=device, data_dir=data_dir, objects=shared)


def _sees_the_same(source: Restored, victim: Restored) -> bool:
    """Whether inputs mean the same to both."""
    first, second = source.dataset, victim.dataset
    return first.preprocessing == second.preprocessing and torch.equal(first.test.inputs, second.test.inputs)


def _task(run: Run) -> tuple[object, object]:
    return run.config["data"], run.config.get("one_vs_rest")


def _spell(run: Run) -> str:
    single = run.config.get("one_vs_rest")
    return run.data if single is None else f"{run.data}, {single} against the rest"
