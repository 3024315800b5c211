"""Rules whose epochs differ: one for what they learn themselves, one for the net."""

import pytest
import torch

from biograd import records
from biograd.errors import UserMistake
from biograd.training import build, checkpoint, resume, train

BOTH = [{}, {"feedback_optimizer": {"name": "adam", "lr": 0.01}}]


@pytest.fixture
def alternating(make_config, rule_file):
    """Four epochs of six steps: the rule's, the net's, the rule's, the net's."""

    def make(**flags):
        return make_config(**{"rule": rule_file("Alternating"), "epochs": 4, "checkpoint_every": 2, **flags})

    return make


@pytest.mark.parametrize("flags", BOTH, ids=str)
@pytest.mark.parametrize("step", [2, 6, 9, 12, 15, 23])
def test_stopped_in_the_middle_of_any_it_goes_on_with_the_same_bits(
    step, flags, alternating, stop_after, bits, tmp_path
):
    config = alternating(**flags, clip_norm=1.0, diagnostics_every=4)
    train(config, tmp_path / "whole")
    stop_after(step)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped")
    stop_after(None)
    resume(tmp_path / "stopped")
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adam-uncorrected", "rmsprop", "nadam"])
@pytest.mark.parametrize("flags", BOTH, ids=str)
@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_what_a_phase_does_not_teach_stays_with_its_moments(
    flags, optimizer, clip_norm, alternating, tmp_path
):
    """Neither weights, nor moments, nor the count of steps of Adam: nor does weight decay act."""
    decaying = {"name": optimizer, "weight_decay": 0.1}
    shared = {
        **flags,
        "optimizer": decaying,
        "schedule": "none",
        "clip_norm": clip_norm,
        "validation_fraction": 0,
        "checkpoint_every": 100,
    }
    kept = {}
    for epochs in (1, 2, 3):
        config = alternating(**shared, epochs=epochs)
        train(config, tmp_path / str(epochs))
        kept[epochs], _ = checkpoint.load(tmp_path / str(epochs) / "checkpoint.safetensors")
    setup = build(config)
    start = dict(setup.net.named_parameters())
    assert all(torch.equal(kept[1]["net"][key], p) for key, p in start.items())
    assert same(kept[1]["rule"], kept[2]["rule"])
    assert not same(kept[2]["rule"], kept[3]["rule"])
    moved = [key for key, p in start.items() if not torch.equal(kept[2]["net"][key], p)]
    assert moved == list(start)
    assert all(torch.equal(kept[2]["net"][key], kept[3]["net"][key]) for key in start)
    of_rule, of_net = moments(kept[1], setup), moments(kept[2], setup)
    assert of_rule["net"] == {}
    assert same(of_rule["rule"], of_net["rule"])
    assert same(of_net["net"], moments(kept[3], setup)["net"])
    assert not same(of_net["rule"], moments(kept[3], setup)["rule"])


@pytest.mark.parametrize("flags", BOTH, ids=str)
def test_rates_go_down_in_every_epoch_whatever_is_taught(flags, alternating, tmp_path):
    train(alternating(**flags, schedule={"name": "step", "every": 1, "factor": 0.5}, lr=1.0), tmp_path)
    assert [row["learning_rate"] for row in records.read_lines(tmp_path / "metrics.jsonl")] == [
        1,
        0.5,
        0.25,
        0.125,
    ]
    state, _ = checkpoint.load(tmp_path / "checkpoint.safetensors")
    if flags:
        assert state["feedback_optimizer"]["param_groups"][0]["lr"] == 0.01 / 16


def test_an_epoch_is_announced_when_it_begins_and_when_it_goes_on(
    alternating, stop_after, tmp_path, monkeypatch
):
    said = []
    rule = type(build(alternating()).rule)
    begin = rule.begin_epoch
    monkeypatch.setattr(rule, "begin_epoch", lambda self, epoch: said.append(epoch) or begin(self, epoch))
    stop_after(9)
    with pytest.raises(KeyboardInterrupt):
        train(alternating(), tmp_path)
    tried = [0, 1]  # before the run begins
    assert said == [*tried, 0, 1]
    said.clear()
    stop_after(None)
    resume(tmp_path)
    assert said == [*tried, 1, 2, 3]


def test_what_fails_only_in_the_second_epoch_is_refused_before_the_first(make_config, rule_file, tmp_path):
    with pytest.raises(UserMistake, match="Misbehaving' failed: ValueError: no second epoch"):
        train(make_config(rule=rule_file("Misbehaving")), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert train(make_config(rule=rule_file("Misbehaving"), epochs=1), tmp_path / "run")["status"] == "done"


def test_a_single_epoch_may_teach_the_rule_alone(alternating, tmp_path):
    assert train(alternating(epochs=1), tmp_path)["status"] == "done"


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_in_every_precision(precision, alternating, tmp_path):
    assert train(alternating(precision=precision, **BOTH[1]), tmp_path)["status"] == "done"


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def moments(state, setup):
    """What the optimisers hold of the net's and of the rule's parameters, flat."""
    count = len(list(setup.net.parameters()))
    own = state.get("feedback_optimizer")
    shared = state["optimizer"]["state"]
    of_rule = (
        own["state"] if own else {place - count: held for place, held in shared.items() if place >= count}
    )
    of_net = {place: held for place, held in shared.items() if place < count}
    return {
        part: {
            (place, key): torch.as_tensor(value)
            for place, held in entries.items()
            for key, value in held.items()
        }
        for part, entries in (("net", of_net), ("rule", of_rule))
    }


@pytest.mark.parametrize("rule", ["dtp", "sdtp", "ao-sdtp"])
@pytest.mark.parametrize("step", [3, 9, 15])
def test_so_do_the_alternating_rules_there_are(rule, step, make_config, net_file, stop_after, bits, tmp_path):
    """Noise and decoders included; stopped in an epoch of the decoders, of the weights, of the decoders."""
    config = make_config(
        rule={"name": rule, "schedule": "alternating"},
        net={"name": net_file("plain"), "widths": "8,8"},
        feedback_optimizer={"name": "adam", "lr": 0.01},
        epochs=3,
        checkpoint_every=2,
        diagnostics_every=4,
    )
    train(config, tmp_path / "whole")
    stop_after(step)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped")
    stop_after(None)
    resume(tmp_path / "stopped")
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")
