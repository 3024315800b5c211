"""Training killed with SIGKILL at random moments, and resumed; ``BIOGRAD_KILLS`` sets how often."""

import multiprocessing
import os
import random
import time

import pytest

from biograd.training import resume, train

KILLS = int(os.environ.get("BIOGRAD_KILLS", "20"))
FLAGS = {
    "rule": "kp",  # its feedback is learned, and so in the optimiser too
    "epochs": 5,
    "batch_size": 2,
    "checkpoint_every": 20,
    "diagnostics_every": 50,
    "optimizer": {"name": "adamw", "weight_decay": 1.0, "lr": 0.05},
}
pytestmark = pytest.mark.filterwarnings("ignore:kp")


@pytest.fixture(scope="module")
def start():
    """Start a function in a process of its own, which a server that has imported everything forks."""
    context = multiprocessing.get_context("forkserver")
    needed = ["biograd.training", "biograd.data.synthetic", "biograd.rules.kolen_pollack", "torch._dynamo"]
    context.set_forkserver_preload(needed)

    def begin(function, *arguments):
        process = context.Process(target=function, args=arguments)
        process.start()
        return process

    return begin


def seconds_to(start, function, *arguments):
    begun = time.monotonic()
    process = start(function, *arguments)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - begun


def test_a_run_killed_at_any_moment_resumes_to_the_same_bits(make_config, start, bits, tmp_path):
    config = make_config(**FLAGS)
    seconds_to(start, train, config, tmp_path / "warm")
    whole = seconds_to(start, train, config, tmp_path / "whole")
    moments, interrupted = random.Random(0), 0
    for number in range(5 * KILLS):
        folder = tmp_path / f"killed-{number}"
        process = start(train, config, folder)
        time.sleep(whole * moments.uniform(0.0, 1.0))
        process.kill()
        process.join()
        if (folder / "result.json").exists():
            continue  # it was done before it was killed
        if (folder / "config.json").exists():
            resume(folder)
        else:  # killed before it was a run: nothing is in the way of training it
            train(config, folder)
        assert bits(folder) == bits(tmp_path / "whole"), f"kill {number}"
        interrupted += 1
        if interrupted == KILLS:
            return
    pytest.fail(f"only {interrupted} of {5 * KILLS} runs were still training when they were killed")


@pytest.mark.parametrize("rule", ["kp", "Alternating"])
def test_a_run_killed_over_and_over_gets_to_the_same_bits(
    rule, make_config, rule_file, start, bits, tmp_path
):
    own = {"rule": rule_file(rule), "feedback_optimizer": {"name": "adam", "lr": 0.01}}
    config = make_config(**{**FLAGS, **({} if rule == "kp" else {**own, "clip_norm": 1.0})})
    whole = seconds_to(start, train, config, tmp_path / "whole")
    folder, moments = tmp_path / "killed", random.Random(1)
    process = start(train, config, folder)
    for _ in range(5):
        time.sleep(whole * moments.uniform(0.2, 0.8))
        process.kill()
        process.join()
        begun = (folder / "config.json").exists()
        process = start(resume, folder) if begun else start(train, config, folder)
    process.join()
    assert bits(folder) == bits(tmp_path / "whole")


def test_two_runs_are_written_side_by_side(make_config, start, bits, tmp_path):
    configs = [make_config(**{**FLAGS, "seed": seed}) for seed in (0, 1)]
    processes = [start(train, config, tmp_path / f"run-{config.seed}") for config in configs]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    for config in configs:
        train(config, tmp_path / f"alone-{config.seed}")
        assert bits(tmp_path / f"run-{config.seed}") == bits(tmp_path / f"alone-{config.seed}")
