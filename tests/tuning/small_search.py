"""A small search in a process of its own: ``python small_search.py FOLDER [--die-after STEPS] [--storage URL]``."""

import argparse
import os
import signal
from pathlib import Path

from biograd.training.trainer import Trainer
from biograd.tuning import Budget, Tpe, contenders, tune

NETS = Path(__file__).parents[1] / "training" / "small_nets.py"
BUDGET = Budget(trials=5, epochs=2, seeds=2)


def members(rules=("bp", "dtp"), **flags):
    data = {"name": "synthetic", "examples": 64, "test_examples": 16, "features": "6", "classes": 3}
    small = {
        "data": data,
        "net": {"name": f"{NETS}:plain", "widths": (8, 8)},
        "epochs": 2,
        "batch_size": 10,
        "device": "cpu",
    }
    return contenders(rules, {**small, "checkpoint_every": 3, **flags})


def die_after(steps):
    after_step, taken = Trainer._after_step, [0]

    def step(trainer):
        after_step(trainer)
        taken[0] += 1
        if taken[0] == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    Trainer._after_step = step


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--die-after", type=int)
    parser.add_argument("--storage")
    given = parser.parse_args()
    if given.die_after:
        die_after(given.die_after)
    by_tpe = Budget(trials=5, epochs=2, seeds=1, sampler=Tpe(storage=given.storage))
    tune(members(), by_tpe if given.storage else BUDGET, given.folder)
