import dataclasses
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from tests.training.mapped import MappedBatches, write
from torch import nn

from biograd import records
from biograd.errors import CheckpointError
from biograd.training import GradientSum, Ranks, build, checkpoint, resume, train
from biograd.training.trainer import Trainer

SCRIPT = Path(__file__).with_name("data_parallel.py")
RULES = ["bp", "fa", "dfa", "usf", "brsf", "frsf", "kp", "drtp", "shallow"]
ALONE = torch.device("cpu")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """What two processes are to train: batches that part evenly, unevenly, and into one example and none."""
    from biograd.training import RunConfig

    nets = Path(__file__).with_name("small_nets.py")
    data = {"name": "synthetic", "examples": 64, "test_examples": 15, "features": "6", "classes": 3}
    shared = {"data": data, "epochs": 2, "device": "cpu", "clip_norm": 1.0}
    exact = {**shared, "net": f"{nets}:plain", "precision": "float64", "optimizer": "sgd", "lr": 0.1}
    configs = {rule: RunConfig.from_sources({"rule": rule, "batch_size": 10, **exact}) for rule in RULES}
    for name, size in {"uneven": 9, "too few": 19}.items():
        configs[name] = RunConfig.from_sources({"rule": "brsf", "batch_size": size, **exact})
    full = {"name": "orthogonality", "strength": 0.1, "kind": "full", "every": 2, "held": True}
    configs["penalty"] = RunConfig.from_sources({"rule": "bp", "batch_size": 19, "penalty": full, **exact})
    rule = f"{nets.with_name('small_rules.py')}:Alternating"
    moving = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
    phases = {"rule": rule, "batch_size": 9, "epochs": 4, "optimizer": moving, "feedback_optimizer": moving}
    configs["measured"] = RunConfig.from_sources(
        {"rule": "fa", "batch_size": 9, "diagnostics_every": 3, **exact}
    )
    configs["phases"] = RunConfig.from_sources({**{k: v for k, v in exact.items() if k != "lr"}, **phases})
    for kind, tested in {"regression": 15, "labels": 1}.items():  # of one example the second process has none
        made_up = {**data, "kind": kind, "test_examples": tested}
        configs[kind] = RunConfig.from_sources(
            {"rule": "fa", "batch_size": 9, **exact, "data": made_up, "validation_fraction": 0.11}
        )
    stop = {**shared, "rule": "fa", "net": f"{nets}:chain", "batch_size": 10, "checkpoint_every": 3}
    return configs, RunConfig.from_sources(stop)


@pytest.fixture(scope="module")
def folder(plan, tmp_path_factory):
    """Everything that two processes left, trained by one torchrun."""
    for _ in range(2):
        folder, done = _trained_by_two(plan, tmp_path_factory.mktemp("data-parallel"))
        if _ENDED_IN_PYTORCH not in done.stderr:
            break
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


# What is left of a process that PyTorch's own threads ended, rarely, on a busy machine.
_ENDED_IN_PYTORCH = "terminate called without an active exception"


def _trained_by_two(plan, folder):
    configs, stop = plan
    write(folder)
    written = {
        "mapped": configs["uneven"].to_json(),
        "train": {name: c.to_json() for name, c in configs.items()},
        "stop": stop.to_json(),
    }
    (folder / "plan.json").write_text(json.dumps(written))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [*launch, str(SCRIPT), str(folder)], env=environment, capture_output=True, text=True, timeout=300
    )
    return folder, done


@pytest.mark.parametrize(
    "name", [*RULES, "uneven", "too few", "penalty", "phases", "measured", "regression", "labels"]
)
def test_two_processes_train_as_one_does_on_the_same_batches(name, plan, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        alone = train(plan[0][name], folder / "one" / name)
    together = records.read_json(folder / "two" / name / "result.json")
    for key in ("steps", *(key for key in alone if key.startswith(("train_", "validation_", "test_")))):
        expected = alone[key]
        is_there = expected is not None
        assert together[key] == (pytest.approx(expected, rel=1e-12) if is_there else None), key
    (one, _), (two, _) = (
        checkpoint.load(folder / n / name / "checkpoint.safetensors") for n in ("one", "two")
    )
    for part in ("net", "rule"):
        for key, value in one[part].items():
            torch.testing.assert_close(two[part][key], value, rtol=1e-12, atol=1e-12)


def test_gradients_are_averaged_however_they_are_filled(folder):
    found = json.loads((folder / "averages.json").read_text())
    torch.manual_seed(0)
    shared, late, *_ = (nn.Linear(2, 2, bias=False, dtype=torch.float64) for _ in range(4))
    x = torch.arange(12.0, dtype=torch.float64).view(6, 2)
    shared(shared(x).tanh()).square().mean().backward()
    late(x).square().mean().backward()
    for step in ("0", "1"):
        close = torch.testing.assert_close
        close(
            torch.tensor(found[step]["shared"], dtype=torch.float64), shared.weight.grad, rtol=1e-13, atol=0
        )
        close(
            torch.tensor(found[step]["late"], dtype=torch.float64), 3 * late.weight.grad, rtol=1e-13, atol=0
        )
        assert found[step]["apart"] == [[1.0, 1.0], [1.0, 1.0]]
        assert found[step]["never"] is None
    shared.zero_grad()
    shared(x[:3]).sum().backward()  # what the first process has for itself
    assert found["outside"] == shared.weight.grad.tolist()


def test_each_reads_its_part_of_a_file_and_together_they_learn_what_one_does(plan, folder, tmp_path):
    read = [json.loads((folder / f"mapped-{rank}.json").read_text()) for rank in (0, 1)]
    for epoch in ("0", "1"):
        assert sorted(read[0][epoch] + read[1][epoch]) == list(range(23))
        assert [len(one[epoch]) for one in read] == [13, 10]  # of nine, nine and five
    config = plan[0]["uneven"]
    setup = dataclasses.replace(
        build(config), training=MappedBatches(folder, config.batch_size), validation=None
    )
    Trainer(setup, Ranks(ALONE), tmp_path).run()
    for rank in (0, 1):
        for name, value in torch.load(folder / f"mapped-{rank}.pt", weights_only=True).items():
            torch.testing.assert_close(value, setup.net.state_dict()[name], rtol=1e-12, atol=1e-12)


def test_the_rule_is_measured_on_whole_batches(plan, folder):
    train(plan[0]["measured"], folder / "alone")
    alone, together = (
        records.read_lines(place / "diagnostics.jsonl")
        for place in (folder / "alone", folder / "two" / "measured")
    )
    assert [(row["step"], row["quantity"], row["layer"]) for row in together] == [
        (row["step"], row["quantity"], row["layer"]) for row in alone
    ]
    for one, both in zip(alone, together, strict=True):
        if one["quantity"] != "seconds" and one["value"] is not None:
            assert both["value"] == pytest.approx(one["value"], rel=1e-6, abs=1e-5)


def test_a_stopped_data_parallel_run_resumes_to_the_same_bits(folder, bits):
    assert bits(folder / "two" / "resumed") == bits(folder / "two" / "whole")


def test_it_is_not_resumed_by_another_number_of_processes(folder):
    with pytest.raises(CheckpointError, match="was trained by 2 processes, not 1"):
        resume(folder / "two" / "left")


def test_processes_drop_different_units(folder):
    state, _ = checkpoint.load(folder / "two" / "whole" / "checkpoint.safetensors")
    assert not torch.equal(*state["random"]["cpu"])


def test_alone_nothing_is_hooked_or_changed():
    layer = nn.Linear(2, 1)
    with GradientSum([layer], Ranks(ALONE)) as gradients:
        assert not layer.weight._post_accumulate_grad_hooks
        with gradients.over_processes():
            layer(torch.ones(1, 2)).sum().backward()
    assert layer.weight.grad.tolist() == [[1.0, 1.0]]
