"""A study of forty runs, in one go and killed five times: ``python killed_study.py WHOLE KILLED``."""

import os
import signal
import sys

from biograd.studies.quantities import AtEnd
from biograd.studies.reproduce import reproduce
from biograd.studies.study import Budget, Group, Shown, Study, StudyCell
from biograd.training.trainer import Trainer

RULES, CLASSES, SEEDS = ("bp", "fa", "dfa", "dtp"), (0, 1), 5
KILLS = (60, 45, 70, 33, 52)
"""Steps of all runs together after which a process dies; a run takes eight."""


def study() -> Study:
    data = {"name": "synthetic", "examples": 44, "test_examples": 12, "features": "4", "classes": 3}
    fixed = {"data": data, "net": {"name": "mlp", "widths": (6, 6)}, "device": "cpu", "batch_size": 10}
    cells = tuple(
        StudyCell(
            f"{one}/{rule}",
            {**fixed, "rule": rule, "one_vs_rest": one, "checkpoint_every": 3},
            full=Budget(seeds=SEEDS, epochs=2),
            quick=None,
        )
        for one in CLASSES
        for rule in RULES
    )
    groups = tuple(Group(rule, f"*/{rule}", (Shown(AtEnd("test_accuracy")),)) for rule in RULES)
    return Study("killed", "Forty runs", "Nobody.", cells, groups)


def die_after(steps: int) -> None:
    after_step, taken = Trainer._after_step, [0]

    def step(trainer: Trainer) -> None:
        after_step(trainer)
        taken[0] += 1
        if taken[0] == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    Trainer._after_step = step


def killed(folder: str, steps: int) -> int:
    """The signal that ended a process that went on with the study."""
    child = os.fork()
    if child == 0:
        die_after(steps)
        reproduce(study(), folder, budget="full", progress=False)
        os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    whole, folder = sys.argv[1:]
    reproduce(study(), whole, budget="full", progress=False)
    print(*(killed(folder, steps) for steps in KILLS))
    reproduce(study(), folder, budget="full", progress=False)
