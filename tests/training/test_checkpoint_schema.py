"""A state that is not of the run is refused before anything of it is loaded.

``BIOGRAD_DAMAGED=400 pytest tests/training/test_checkpoint_schema.py`` tries so many of them with each run.
"""

import itertools
import os
from pathlib import Path

import pytest
import torch
from tests.end_to_end.damaged import states

from biograd.errors import CheckpointError
from biograd.training import checkpoint
from biograd.training.checkpoint_schema import Position
from biograd.training.distributed import Ranks
from biograd.training.run_setup import build
from biograd.training.trainer import Trainer

COUNT = int(os.environ.get("BIOGRAD_DAMAGED", "20"))
ALONE, NOWHERE = Ranks(torch.device("cpu")), Path("nowhere")
PENALTY = {"name": "orthogonality", "strength": 0.1}
RUNS = {
    "kp": {"rule": "kp", "optimizer": {"name": "sgd", "momentum": 0.9}, "penalty": PENALTY},
    "wm": {"rule": "wm", "schedule": {"name": "step", "at": "1"}},
    "dtp": {"rule": {"name": "dtp", "schedule": "alternating"}, "optimizer": "adagrad"},
    "drl": {"rule": "drl", "feedback_optimizer": {"name": "adamw", "lr": 0.01}},
    "brsf": {"rule": "brsf", "optimizer": "nadam", "schedule": "none"},
    "uncorrected": {"rule": "pepita", "optimizer": "adam-uncorrected"},
}


def moved(make_config, **flags):
    """What a run trains with after four steps, and where it is."""
    setup = build(make_config(**flags))
    run = Trainer(setup, ALONE, NOWHERE)
    for x, y in itertools.islice(setup.training.epoch(0), 4):
        run._step(x, y)
        run._after_step()
    return run


def content(setup):
    skeleton, tensors = checkpoint.pack(checkpoint.capture(setup, Position()))
    return skeleton, {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def refusal(run, file):
    """Why a run does not go on from a checkpoint; None where it does."""
    try:
        run.restore(checkpoint.load(file)[0])
    except CheckpointError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUNS)
def test_what_is_refused_leaves_net_rule_and_optimisers_as_they_were(name, make_config, tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    checkpoint.save(file, moved(make_config, **RUNS[name]).state())
    right, there = file.read_bytes(), Trainer(build(make_config(**RUNS[name])), ALONE, NOWHERE)
    before, refused, random = content(there.setup), 0, torch.get_rng_state()
    for how, damaged in itertools.islice(states(file, seed=3), COUNT):
        file.write_bytes(damaged)
        if why := refusal(there, file):
            refused += 1
            assert "\n" not in why, how
            assert content(there.setup) == before, how
        else:
            there = Trainer(build(make_config(**RUNS[name])), ALONE, NOWHERE)
    assert refused > COUNT / 2
    torch.set_rng_state(random)
    file.write_bytes(right)
    there.restore(checkpoint.load(file)[0])
    assert there.position.step == 4


def test_a_rule_that_refuses_its_state_at_last_leaves_what_was_loaded_before_it(make_config, monkeypatch):
    state, there = moved(make_config, rule="wm").state(), build(make_config(rule="wm"))
    before, fill, calls = content(there), checkpoint.fill_optimizer, []

    def refuse_once(optimizer, state):
        calls.append(state)
        with checkpoint.refusing("optimizer"):
            if len(calls) == 1:
                raise RuntimeError("this state has seen better days")
            fill(optimizer, state)

    monkeypatch.setattr(checkpoint, "fill_optimizer", refuse_once)
    with pytest.raises(CheckpointError, match=r"optimizer: .*RuntimeError: this state has seen better days"):
        checkpoint.restore(state, there)
    assert content(there) == before


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        ("epoch", 3, "are no place in 2 epochs of 6 batches"),
        ("batch", 6, "are no place"),
        ("step", 5, "are no place"),
        ("step", -1, "position: .*step is -1, expected a number greater than or equal to 0"),
        ("seconds", "1", "seconds is '1', expected a number"),
        ("stopped", 1, "stopped is 1, expected"),
    ],
)
def test_a_position_is_one_that_the_run_can_have(place, value, why, make_config):
    run = moved(make_config)
    state = run.state()
    state["position"][place] = value
    with pytest.raises(CheckpointError, match=why):
        run.restore(state)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda group: group.update(lr="fast"), "lr: .*it is 'fast', expected 0.0"),
        (lambda group: group.update(lr=-1.0), "it is -1.0, expected a rate from 0 on"),
        (lambda group: group.update(betas=(0.9, 5.0)), "betas: .*expected"),
        (lambda group: group.update(betas=[0.9, 0.999]), "it is a list of 2, expected a tuple of 2"),
        (lambda group: group.update(params=[0, 1, 2, 3, 4]), "it is a list of 5"),
        (lambda group: group.pop("eps"), "expected the entries .*eps"),
        (lambda group: group.update(other=1), "it has the entries .*other"),
    ],
)
def test_a_group_of_an_optimiser_is_as_the_configuration_makes_it(change, why, make_config):
    run = moved(make_config)
    state = run.state()
    change(state["optimizer"]["param_groups"][0])
    with pytest.raises(CheckpointError, match=why):
        run.restore(state)
