"""Run folders that no training made, with curves that look as if: for tests of reports only."""

import math
import random
from pathlib import Path

import pytest

from biograd.records import append_line, write_json

RULES = {"bp": 0.978, "fa": 0.972, "dfa": 0.971, "shallow": 0.93}
FAMILIES = {
    "bp": "backpropagation",
    **dict.fromkeys(("fa", "usf", "brsf", "frsf", "kp", "wm"), "feedback"),
    **dict.fromkeys(("dfa", "drtp"), "direct feedback"),
    **dict.fromkeys(("tp", "itp", "gait-prop", "dtp", "sdtp", "ao-sdtp"), "target propagation"),
    **dict.fromkeys(("drl", "ddtp-linear", "l-drl"), "target propagation"),
    **dict.fromkeys(("stdp-association", "softhebb", "forward-forward", "pepita"), "local"),
    **dict.fromkeys(("frozen", "shallow"), "baseline"),
}
LAYERS = ("0.weight", "2.weight", "4.weight")
ENVIRONMENT = {
    "biograd": "0.1.0",
    "commit": "0" * 40,
    "dirty": False,
    "torch": "2.13.0",
    "cpu": "a CPU",
    "threads": 1,
}


def choice(name, **settings):
    return {"name": name, "settings": settings}


def fake_run(
    folder: Path,
    rule="bp",
    seed=0,
    *,
    final=None,
    epochs=5,
    stop=None,
    reason=None,
    measured=False,
    settings=None,
    **changes,
):
    """Write one run's folder.

    ``stop`` ends it after so many epochs: as diverged if there is a ``reason``, else unfinished.
    ``measured`` writes diagnostics too; ``settings`` are the rule's.
    """
    config = {
        "rule": choice(rule, **(settings or {})),
        "data": choice("mnist"),
        "net": choice("mlp", widths=[512, 512]),
        "optimizer": choice("adam", lr=0.001),
        "epochs": epochs,
        "batch_size": 100,
        "seed": seed,
        "one_vs_rest": None,
        "validation_fraction": 0.1,
        "deterministic": True,
        **{key: value for key, value in changes.items() if key != "environment"},
    }
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    write_json(folder / "environment.json", ENVIRONMENT | changes.get("environment", {}))
    noise = random.Random(f"{rule}{seed}")
    final = RULES.get(rule, 0.95) + noise.gauss(0, 0.001) if final is None else final
    done = epochs if stop is None else stop
    for epoch in range(1, done + 1):
        write_epoch(folder, epoch, final, noise)
        if measured:
            write_diagnostics(folder, rule, epoch, noise)
    if stop is None or reason is not None:
        write_result(folder, rule, seed, final, done, reason, noise)
    return folder


def write_epoch(folder, epoch, final, noise):
    accuracy = final - 0.12 * math.exp(-epoch / 1.3) + noise.gauss(0, 0.0008)
    row = {
        "epoch": epoch,
        "step": 540 * epoch,
        "train_loss": 0.05 + 0.6 * math.exp(-epoch / 1.6) + 2 * (0.98 - final),
        "train_accuracy": accuracy + 0.004,
        "validation_loss": 0.07 + 0.5 * math.exp(-epoch / 1.6),
        "validation_accuracy": accuracy,
        "learning_rate": 0.001,
        "seconds": 2.1 * epoch,
    }
    append_line(folder / "metrics.jsonl", row)


def write_diagnostics(folder, rule, epoch, noise):
    for step in range(540 * (epoch - 1), 540 * epoch, 135):
        at = {"step": step, "epoch": epoch}
        for depth, layer in enumerate(LAYERS):
            for quantity, value in angles(rule, step, depth, noise).items():
                row = {**at, "quantity": quantity, "layer": layer, "value": value}
                append_line(folder / "diagnostics.jsonl", row)
        append_line(folder / "diagnostics.jsonl", {**at, "quantity": "seconds", "value": 0.01})


def angles(rule, step, depth, noise):
    aligned = 0.0 if rule == "bp" or depth == 2 else 88 - (45 + 8 * depth) * (1 - math.exp(-step / 700))
    values = {
        "gradient_angle": aligned + abs(noise.gauss(0, 1.5)),
        "norm_ratio": 2 ** noise.gauss(aligned / 60, 0.2),
    }
    if rule == "fa" and depth > 0:
        values["feedback_angle"] = 90 - 30 * (1 - math.exp(-step / 900)) + noise.gauss(0, 1)
    return values


def write_result(folder, rule, seed, final, epochs, reason, noise):
    measured = {
        "train_loss": 0.1,
        "train_accuracy": final + 0.01,
        "validation_loss": 0.12,
        "validation_accuracy": final - 0.001,
        "test_loss": 0.11,
        "test_accuracy": final,
    }
    result = {
        "rule": rule,
        "data": "mnist",
        "net": "mlp",
        "seed": seed,
        "epochs": epochs,
        "status": "done" if reason is None else "diverged",
        "reason": reason,
        **(measured if reason is None else dict.fromkeys(measured)),
        "seconds": {"dfa": 8.0, "shallow": 4.4}.get(rule, 10.5) + noise.random(),
        "parameters": 669706,
        "steps": 540 * epochs,
        "test_reads": 1,
        "tested_weights": "last" if reason is None else None,
        "warnings": [],
        "run": str(folder),
        **({"family": FAMILIES[rule]} if rule in FAMILIES else {}),
    }
    write_json(folder / "result.json", result)


@pytest.fixture
def make_run():
    return fake_run


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory):
    """4 rules × 3 seeds × 5 epochs with diagnostics, and a report of them; not to be changed."""
    from biograd.report import write_report

    folder = tmp_path_factory.mktemp("runs") / "comparison"
    for rule in RULES:
        for seed in range(3):
            fake_run(folder / f"{rule}-{seed}", rule, seed, measured=True)
    write_report(folder)
    return folder
