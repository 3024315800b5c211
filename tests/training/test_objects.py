"""Rules, nets and data may be objects: runs are told apart by what these hold, and go on when they are given again."""

import pickle

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import biograd
from biograd import rules
from biograd.errors import UserMistake
from biograd.executor import Local
from biograd.robustness import AttackSettings, measure_run
from biograd.training import RunConfig, compare, grid, load_weights, resume, train
from biograd.training.restored import restored

TARGETS = torch.arange(60) % 3
INPUTS = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)) + TARGETS.unsqueeze(1)
DATA = (INPUTS, TARGETS)


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.hidden, self.output = nn.Linear(6, width), nn.Linear(width, 3)

    def forward(self, x):
        return self.output(torch.tanh(self.hidden(x)))


class Scaled(biograd.Backpropagation):
    """Backpropagation by another name."""


def chosen(**flags):
    return {"rule": "fa", "net": Net, "data": DATA, "epochs": 2, "batch_size": 10, "device": "cpu", **flags}


def configured(**flags):
    return RunConfig.from_sources(chosen(**flags))


FORMS = {
    "a module": ("net", Net()),
    "a class": ("net", Net),
    "a function": ("net", lambda: Net(4)),
    "a class of a rule": ("rule", Scaled),
    "a function that makes a rule": ("rule", lambda net, sample: rules.create("fa", net, scale=0.5)),
    "a torch dataset": ("data", TensorDataset(INPUTS, TARGETS)),
    "parts": ("data", {"train": (INPUTS[:40], TARGETS[:40]), "test": (INPUTS[40:], TARGETS[40:])}),
    "a data set": ("data", biograd.data.load(DATA, seed=3)),
    "examples with settings": ("data", {"name": DATA, "test_fraction": 0.5, "normalize": False}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_run_takes_objects_and_goes_on_when_they_are_given_again(form, tmp_path, stop_after, bits):
    key, given = FORMS[form]
    train(chosen(**{key: given}), tmp_path / "whole")
    stop_after(4)
    with pytest.raises(KeyboardInterrupt):
        train(configured(**{key: given}), tmp_path / "stopped")
    stop_after(None)
    objects = {"net": Net, "data": DATA, key: given}
    with pytest.raises(UserMistake, match=rf"was an object of a program, .*objects=\{{\"{key}\": …\}}"):
        resume(tmp_path / "stopped", objects={one: objects[one] for one in objects if one != key})
    resume(tmp_path / "stopped", objects=objects)
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")


def test_a_net_that_is_given_is_where_every_run_starts_and_stays_as_it_is(tmp_path):
    net = Net()
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    configs = grid(["bp", "fa"], 2, chosen(net=net, rule=None))
    with torch.no_grad():
        net.hidden.weight.zero_()  # after it was given
    assert len({config.net.name for config in configs}) == 1
    compare(configs, tmp_path / "all")
    load_weights(tmp_path / "all/bp-seed0/checkpoint.safetensors", net)
    assert not torch.equal(net.hidden.weight, weights["hidden.weight"])
    begun = biograd.training.build(configs[0]).net
    torch.testing.assert_close(dict(begun.state_dict()), weights, rtol=0, atol=0)


def test_what_comes_with_biograd_keeps_its_name():
    config = configured(rule=biograd.FeedbackAlignment, net=biograd.nets.REGISTRY.find("mlp"))
    assert (config.rule.name, config.net.name) == ("fa", "mlp")


def test_rules_are_compared_under_the_labels_they_are_given(tmp_path):
    flags = chosen(rule=None)
    compared = {"fa": "fa", "small": {"name": "fa", "scale": 0.1}, "mine": Scaled}
    results = compare(grid(compared, 1, flags), tmp_path / "all")
    assert [(one["label"], one["rule"]) for one in results] == [
        ("fa", "fa"),
        ("small", "fa"),
        ("mine", "Scaled"),
    ]
    (small,) = grid([{"name": "fa", "scale": 0.1}], 1, flags)
    assert small.rule == grid(compared, 1, flags)[1].rule
    with pytest.raises(UserMistake, match="none twice"):
        grid([Scaled, Scaled], 1, flags)


OTHERS = {"net": Net(), "data": (INPUTS + 1, TARGETS), "rule": lambda net, sample: rules.create("kp", net)}


@pytest.mark.parametrize("key", OTHERS)
def test_a_comparison_does_not_mix_runs_of_other_objects(key, tmp_path):
    (first,) = compare([configured(label="run")], tmp_path / "all")
    assert compare([configured(label="run")], tmp_path / "all") == [first]
    with pytest.raises(UserMistake, match=rf"holds a run with another {key}.name \('"):
        compare([configured(label="run", **{key: OTHERS[key]})], tmp_path / "all")
    with pytest.raises(
        UserMistake, match=rf"the {key} is 'object:.*, and the run's was .*: give what it began with"
    ):
        resume(tmp_path / "all/run-seed0", objects={key: OTHERS[key]})


def test_two_sets_are_not_compared_under_one_budget(tmp_path):
    configs = [configured(), configured(rule="bp", data=OTHERS["data"])]
    with pytest.raises(UserMistake, match="would not be compared under one budget: data is"):
        compare(configs, tmp_path / "all")


def test_a_finished_run_is_restored_with_its_objects(tmp_path):
    train(chosen(rule="bp"), tmp_path / "run")
    with pytest.raises(UserMistake, match="was an object of a program"):
        restored(tmp_path / "run", objects={"net": Net})
    back = restored(tmp_path / "run", objects={"net": Net, "data": DATA})
    assert back.predict(INPUTS).shape == (60, 3)
    assert back.dataset.input_shape == (6,)


def test_a_run_of_objects_is_attacked_and_the_source_of_transfer_is_found(tmp_path):
    configs = grid(["bp", "fa"], 1, chosen(rule=None))
    compare(configs, tmp_path / "all")
    settings = AttackSettings(attacks=("transfer",), epsilons=(0.1,), examples=5)
    with pytest.raises(UserMistake, match="was an object of a program"):
        measure_run(tmp_path / "all/fa-seed0", settings, transfer_from=[tmp_path / "all"])
    objects = {"net": Net, "data": DATA}
    found = measure_run(
        tmp_path / "all/fa-seed0", settings, transfer_from=[tmp_path / "all"], objects=objects
    )
    assert str(found["source"]) == "bp/seed0"


def test_objects_go_to_other_processes_where_they_can(tmp_path):
    flags = chosen(rule=None, epochs=1)
    sent = pickle.loads(pickle.dumps(configured(epochs=1)))  # noqa: S301  our own
    assert sent == configured(epochs=1)
    assert sent.net.name.given is Net
    with pytest.raises(UserMistake, match=r"the net 'object:lambda.* cannot be sent to another process"):
        compare(grid(["fa"], 2, {**flags, "net": lambda: Net()}), tmp_path / "all", executor=Local(jobs=2))


REFUSED = {
    "is a FeedbackAlignment that was made for a net: give its class": ("rule", rules.create("fa", Net())),
    "expected a name or a table with a name, got 3": ("net", 3),
    "makes a str, expected a torch.nn.Module": ("net", lambda: "net"),
    "net 'object:lambda@.* failed: ZeroDivisionError": ("net", lambda: 1 / 0),
    r"takes \(shape\), expected \(input_shape, outputs": ("net", lambda shape: Net()),
    r"net 'object:Linear@.* failed: RuntimeError: mat1 and mat2": ("net", nn.Linear(5, 3)),
    r"takes \(net\), expected \(net, sample": ("rule", lambda net: rules.create("fa", net)),
    "expected a class for each example": ("data", (INPUTS, TARGETS.float())),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_trained_is_one_line_before_there_is_a_folder(why, tmp_path):
    key, given = REFUSED[why]
    with pytest.raises(UserMistake, match=why) as caught:
        train(chosen(**{key: given}), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "make", [configured, lambda **flags: grid(["bp"], 1, {"net": Net, "data": DATA, **flags})]
)
def test_in_a_program_a_mistake_is_not_laid_to_the_command_line(make):
    with pytest.raises(UserMistake, match=r"^the configuration has an unknown key 'epoch': did you mean"):
        make(epoch=3)
    with pytest.raises(UserMistake, match=r"^the configuration: lr is 1 and optimizer\.lr is 2"):
        make(lr=1, optimizer={"lr": 2})


def test_a_loader_of_batches_is_no_data(tmp_path):
    with pytest.raises(
        UserMistake, match=r"data is a DataLoader, which hands out batches: give .*loader\.dataset"
    ):
        train(chosen(data=DataLoader(TensorDataset(*DATA))), tmp_path / "run")


def test_the_command_line_says_where_a_run_of_objects_goes_on(tmp_path, stop_after):
    stop_after(4)
    with pytest.raises(KeyboardInterrupt):
        train(configured(), tmp_path / "run")
    stop_after(None)
    with pytest.raises(UserMistake, match=r"knows it alone: go on there, with objects="):
        resume(tmp_path / "run")
    with pytest.raises(UserMistake, match="objects has a key 'nett', expected some of rule, data, net"):
        resume(tmp_path / "run", objects={"nett": Net})
