"""A penalty in the training loop: added once a step to what any rule has taught, and to nothing that is recorded."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from biograd import penalties, records
from biograd.errors import CheckpointError, UserMistake
from biograd.training import checkpoint, resume, train
from biograd.training.observers import checkpoints
from biograd.training.run_setup import build

ORTHOGONALITY = {"name": "orthogonality", "strength": 0.1, "kind": "full"}
HELD = {**ORTHOGONALITY, "every": 4, "held": True}
DECAY = {"name": "decay", "strength": 0.3, "weights": "5.weight"}
NET = {"name": "square", "initialization": "glorot"}  # far from orthogonal
EXACT = {"net": NET, "precision": "float64", "optimizer": "sgd", "lr": 0.1, "schedule": "none"}

MINE = """
import torch
from torch import nn
from biograd import Penalty
from biograd.penalties.base import add_to_gradient


class Lasso(Penalty):
    def __init__(self, net, *, strength: float = 0.5):
        super().__init__()
        self.strength = strength

    def add_gradient(self, net):
        for parameter in net.parameters():
            add_to_gradient(parameter, parameter.sign(), times=self.strength)


class Raising(Lasso):
    def add_gradient(self, net):
        raise ZeroDivisionError("by\\\\nnought")


class RaisingWhenMade(Lasso):
    def __init__(self, net): raise KeyError("no layer")


class WithoutMethod(Penalty): pass

class Plain: pass

class WithoutNet(Lasso):
    def __init__(self): super().__init__(None)
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return lambda name: f"{tmp_path / 'mine.py'}:{name}"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / "checkpoint.safetensors")[0]["net"]


def one_step(make_config: Any, folder: Path, **flags: Any) -> dict[str, torch.Tensor]:
    """The weights after one step of gradient descent at 0.1 on the whole training part."""
    config = make_config(**{**EXACT, "epochs": 1, "batch_size": 64, **flags})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert train(config, folder)["steps"] == 1
    return weights(folder)


def derivative(config: Any) -> dict[str, torch.Tensor]:
    """Of a configuration's penalty, at the weights that a run starts from."""
    net = build(config).net
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    penalties.create(config.penalty.name, net, **config.penalty.settings).add_gradient(net)
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("penalty", [ORTHOGONALITY, {**DECAY, "weights": "*"}], ids=lambda p: p["name"])
@pytest.mark.parametrize("rule", ["bp", "fa", "dfa", "gait-prop", "tp"])
def test_a_step_moves_by_what_the_rule_teaches_and_the_derivative_under_every_rule(
    rule, penalty, make_config, tmp_path
):
    with_penalty = one_step(make_config, tmp_path / "with", rule=rule, penalty=penalty)
    without = one_step(make_config, tmp_path / "without", rule=rule)
    added = derivative(make_config(**EXACT, rule=rule, penalty=penalty))
    assert max(value.abs().max() for value in added.values()) > 0.01
    for name, value in added.items():
        torch.testing.assert_close(
            with_penalty[name], without[name] - 0.1 * value, rtol=1e-10, atol=1e-12, msg=f"{rule} {name}"
        )


def test_the_gradient_is_cut_back_with_its_part_of_the_penalty(make_config, tmp_path):
    start = build(make_config(**EXACT)).net.state_dict()
    moved = one_step(make_config, tmp_path / "run", penalty={**ORTHOGONALITY, "strength": 50}, clip_norm=0.5)
    length = torch.cat([(moved[name] - start[name]).flatten() for name in start]).norm()
    assert length == pytest.approx(0.1 * 0.5, rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_what_a_rule_does_not_teach_no_penalty_moves(make_config, tmp_path):
    start = build(make_config(**EXACT)).net.state_dict()
    moved = one_step(make_config, tmp_path / "run", rule="shallow", penalty=ORTHOGONALITY)
    changed = {name for name, value in moved.items() if not torch.equal(value, start[name])}
    assert changed
    assert all(name.startswith(list(start)[-1].partition(".")[0]) for name in changed)


def test_neither_what_is_measured_of_the_rule_nor_the_loss_has_a_part_of_it(make_config, tmp_path):
    rows = {}
    for penalty in ("none", {**ORTHOGONALITY, "strength": 10}):
        folder = tmp_path / str(len(rows))
        one_step(make_config, folder, rule="fa", penalty=penalty, diagnostics_every=1)
        measured = [
            row for row in records.read_lines(folder / "diagnostics.jsonl") if row["quantity"] != "seconds"
        ]
        (epoch,) = records.read_lines(folder / "metrics.jsonl")
        rows[len(rows)] = measured, epoch["train_loss"]
    assert rows[0] == rows[1]
    assert rows[0][0]


# --- records, checkpoints, and going on ---


def test_the_configuration_is_recorded_and_a_run_without_one_has_the_fingerprint_it_had(
    make_config, tmp_path
):
    plain, with_penalty = make_config(), make_config(penalty=DECAY)
    assert plain.to_json()["penalty"] == {"name": "none", "settings": {}}
    assert plain.digest() == make_config(penalty="none").digest() != with_penalty.digest()
    train(with_penalty, tmp_path / "run")
    assert records.read_json(tmp_path / "run" / "config.json")["penalty"] == {
        "name": "decay",
        "settings": {"strength": 0.3, "weights": ["5.weight"]},
    }


def test_a_table_of_a_rule_can_have_a_penalty_of_its_own_or_none(tmp_path, net_file):
    from biograd.training import grid

    file = tmp_path / "rules.toml"
    file.write_text(
        f'data = "digits"\nnet = "{net_file("chain")}"\npenalty = {{name = "decay", strength = 0.1}}\n'
        '[rules.bp]\npenalty = "none"\n[rules.fa]\n[rules.dfa]\npenalty = {strength = 1}\n'
    )
    found = {config.title: config.penalty for config in grid(None, 1, file=file)}
    assert {rule: (one.name, one.settings) for rule, one in found.items()} == {
        "bp": ("none", {}),
        "fa": ("decay", {"strength": 0.1}),
        "dfa": ("decay", {"strength": 1.0}),
    }


@pytest.mark.parametrize("step", [1, 3, 5, 7])
@pytest.mark.parametrize("penalty", [ORTHOGONALITY, {**HELD, "held": False}, HELD, DECAY], ids=str)
def test_it_goes_on_with_the_same_bits(step, penalty, make_config, stop_after, bits, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "MINIMUM_GAP", 0.0)
    config = make_config(penalty=penalty, rule="fa", checkpoint_every=2)
    train(config, tmp_path / "whole")
    stop_after(step)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped")
    stop_after(None)
    resume(tmp_path / "stopped")
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")


def test_trying_the_configuration_is_no_step(make_config):
    assert build(make_config(penalty=HELD)).penalty.state_dict()["_extra_state"] == 0


def test_a_checkpoint_without_the_state_of_the_penalty_is_refused(make_config, tmp_path):
    setup = build(make_config(penalty=HELD))
    state = checkpoint.capture(setup, checkpoint.Position())
    del state["penalty"]
    with pytest.raises(CheckpointError, match="penalty: the checkpoint is of another one: it holds nothing"):
        checkpoint.restore(state, setup)


def test_what_has_no_state_leaves_none_in_a_checkpoint(make_config):
    assert "penalty" not in checkpoint.capture(build(make_config()), checkpoint.Position())


# --- mistakes, and ones of a user's own ---


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        ({"strength": 1}, "penalty.strength needs a penalty that it is of: name one of orthogonality, decay"),
        ("orthogonality", "penalty 'orthogonality' needs the setting 'strength'"),
        ({**DECAY, "weights": "6.weight"}, "decay: '6.weight' fits no weight of the net: those are 1.weight"),
        ("orthogonality2", "unknown penalty 'orthogonality2': did you mean 'orthogonality'"),
    ],
)
def test_a_mistake_is_one_line_before_there_is_a_folder(penalty, message, make_config, tmp_path):
    with pytest.raises(UserMistake, match=message) as caught:
        train(make_config(penalty=penalty), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_one_of_a_users_own_trains_and_its_file_is_recorded(mine, make_config, tmp_path):
    train(make_config(penalty={"name": mine("Lasso"), "strength": 0.2}), tmp_path / "run")
    files = records.read_json(tmp_path / "run" / "environment.json")["files"]
    assert str(tmp_path / "mine.py") in files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Raising", r"failed: ZeroDivisionError: by\\nnought"),
        ("RaisingWhenMade", "failed: KeyError: 'no layer'"),
        ("WithoutMethod", r"must define add_gradient\(self, net\)"),
        ("Plain", "is no penalty: expected a class derived from biograd.Penalty"),
        ("WithoutNet", r"takes \(\), expected \(net, \*, settings\)"),
    ],
)
def test_one_of_a_users_own_that_fails_is_one_line(name, message, mine, make_config, tmp_path):
    with pytest.raises(UserMistake, match=message) as caught:
        train(make_config(penalty=mine(name)), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
