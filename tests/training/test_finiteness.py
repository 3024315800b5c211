"""A run whose weights, or what moves them, are not finite has diverged, also where its loss is finite."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from biograd import records, rules
from biograd.errors import RunFailed
from biograd.training import RunConfig, checkpoint, train
from biograd.training.observers import AtRest, Observer, StepTaken

HUGE = f"{Path(__file__).with_name('huge_inputs.py')}:huge"
RELU = {"name": "mlp", "widths": (6, 6), "activation": "relu"}
SQUARE = {"name": "square", "hidden": 2}
NETS = {
    **dict.fromkeys(("tp", "itp", "gait-prop"), SQUARE),
    "softhebb": {"name": "softhebb-mlp", "widths": (6, 6)},
    "forward-forward": {"name": "ff-mlp", "widths": (6, 6)},
}


def diverged(config, folder):
    """Why it did."""
    with pytest.raises(RunFailed, match="the run diverged"):
        train(config, folder)
    result = records.read_json(folder / "result.json")
    assert (result["status"], result["test_reads"], result["test_accuracy"]) == ("diverged", 0, None)
    return result["reason"]


def tensors(value):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def lost(folder):
    """How many tensors of the checkpoint, if there is one, are not finite."""
    file = folder / "checkpoint.safetensors"
    state = checkpoint.load(file)[0] if file.exists() else {}
    return sum(not tensor.isfinite().all() for tensor in tensors(state) if tensor.is_floating_point())


@pytest.mark.parametrize(
    ("name", "net"), [("itp", SQUARE), ("gait-prop", SQUARE), ("stdp-association", RELU), ("bp", RELU)]
)
def test_inputs_whose_gradients_overflow_when_squared_leave_no_run_that_is_done(name, net, tmp_path):
    """Adam's mean of squares is infinite then, and its weight stands still for good."""
    config = RunConfig.from_sources({"rule": name, "net": net, "data": HUGE, "epochs": 2, "device": "cpu"})
    assert diverged(config, tmp_path).startswith(
        "the optimiser's exp_avg_sq of '0.weight' is not finite after step 1: lower the learning rate"
    )
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_rate_at_which_decoders_overflow_leaves_no_run_that_is_done(make_config, tmp_path):
    config = make_config(rule="l-drl", net={"name": "mlp", "widths": (8, 8)}, lr=1e30, epochs=3)
    assert "the optimiser's exp_avg_sq of 'decoders." in diverged(config, tmp_path)
    assert lost(tmp_path) == 0


@pytest.mark.filterwarnings("ignore:kp")
@pytest.mark.parametrize("name", rules.names())
def test_what_a_run_on_huge_inputs_leaves_is_finite_or_it_has_diverged(name, tmp_path):
    config = {"rule": name, "net": NETS.get(name, RELU), "data": HUGE, "epochs": 2, "device": "cpu"}
    try:
        result = train(RunConfig.from_sources({**config, "batch_size": 20}), tmp_path)
        assert math.isfinite(result["test_loss"])
    except RunFailed:
        assert (
            "finite" in (reason := records.read_json(tmp_path / "result.json")["reason"]) or "nan" in reason
        )
    assert lost(tmp_path) == 0


class Spoils(Observer):
    """Writes a number that is not finite into a tensor of the run after a step, where no loss sees it any more."""

    def __init__(self, tensor_of, step=12, number=math.inf):
        self.tensor_of, self.step, self.number = tensor_of, step, number

    @torch.no_grad()
    def notice(self, moment, run):
        if isinstance(moment, StepTaken) and run.position.step == self.step:
            self.tensor_of(run.setup).view(-1)[0] = self.number


def spoilt(config, folder, tensor_of, **how):
    with pytest.raises(RunFailed, match="the run diverged"):
        train(config, folder, observers=[Spoils(tensor_of, **how)])
    assert lost(folder) == 0
    return records.read_json(folder / "result.json")["reason"].split(" is not finite after ")


SPOILT = {
    "a weight": ("bp", lambda setup: setup.net[1].weight, "'1.weight' of the net"),
    "statistics": ("bp", lambda setup: setup.net[2].running_var, "'2.running_var' of the net"),
    "a decoder": (
        "sdtp",
        lambda setup: setup.rule.decoders[0][0].weight,
        "'decoders.0.0.weight' of the rule",
    ),
    "learned feedback": ("kp", lambda setup: setup.rule.B["5.weight"], "'B.5:weight' of the rule"),
    "fixed feedback": ("fa", lambda setup: setup.rule.B["5.weight"], "'B.5:weight' of the rule"),
    "a moment": (
        "bp",
        lambda setup: setup.optimizer.state[setup.net[1].weight]["exp_avg"],
        "the optimiser's exp_avg of '1.weight'",
    ),
    "a decoder's moment": (
        "l-drl",
        lambda setup: setup.optimizers[1].state[next(setup.rule.parameters())]["exp_avg_sq"],
        "the optimiser's exp_avg_sq of 'decoders.0.0.weight'",
    ),
}


@pytest.mark.filterwarnings("ignore:kp")
@pytest.mark.parametrize("what", SPOILT)
def test_whatever_is_not_finite_at_the_end_of_an_epoch_is_named(what, make_config, tmp_path):
    name, tensor_of, said = SPOILT[what]
    config = make_config(rule=name, validation_fraction=0, batch_size=16)
    assert spoilt(config, tmp_path, tensor_of, step=8)[0] == said


@pytest.mark.parametrize("number", [math.nan, -math.inf])
def test_a_kept_inverse_is_named_too(number, make_config, tmp_path):
    config = make_config(rule="gait-prop", net=SQUARE, validation_fraction=0, batch_size=16)
    reason = spoilt(config, tmp_path, lambda setup: setup.rule.way_back.of[0].X, step=8, number=number)
    assert reason[0] == "'way_back.of.0.X' of the rule"


def test_a_checkpoint_within_an_epoch_is_never_one_that_no_run_should_go_on_from(make_config, tmp_path):
    config = make_config(epochs=1, checkpoint_every=2, validation_fraction=0)
    reason = spoilt(config, tmp_path, lambda setup: setup.net[2].running_mean, step=3)
    assert reason[0] == "'2.running_mean' of the net"
    assert reason[1].startswith("step 4: ")
    assert checkpoint.load(tmp_path / "checkpoint.safetensors")[0]["position"]["step"] == 2


def test_a_mask_of_minus_infinity_is_meant_so(make_config, net_file, tmp_path):
    assert train(make_config(net=net_file("masked")), tmp_path)["status"] == "done"


class KeepsItsBest(Observer):
    """Stands for an optimiser that keeps the lowest loss so far, infinite to begin with."""

    def notice(self, moment, run):
        if isinstance(moment, AtRest):
            run.setup.optimizer.state[run.setup.net[1].weight]["best"] = torch.tensor(math.inf)


def test_a_number_that_an_optimiser_keeps_beside_a_weights_own_may_be_infinite(make_config, tmp_path):
    assert train(make_config(), tmp_path, observers=[KeepsItsBest()])["status"] == "done"
