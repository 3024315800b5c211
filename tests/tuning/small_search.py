"""A small search in a process of its own: ``python small_search.py FOLDER [steps until it is killed]``."""

import os
import signal
import sys
from pathlib import Path

from biograd.training.trainer import Trainer
from biograd.tuning import Budget, contenders, tune

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
    if len(sys.argv) > 2:
        die_after(int(sys.argv[2]))
    tune(members(), BUDGET, sys.argv[1])
