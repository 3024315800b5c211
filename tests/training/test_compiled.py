"""Runs whose net PyTorch compiles."""

import functools
import shutil

import pytest
import torch

from biograd.errors import UserMistake
from biograd.training import build, train

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)


@pytest.fixture
def counters(monkeypatch):
    """What the compiler did in this test; it makes no machine code."""
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()
    yield counters
    torch._dynamo.reset()


def losses(config, folder):
    result = train(config, folder)
    return [result["train_loss"], result["test_loss"]]


@pytest.mark.filterwarnings("ignore:kp. learning rate")
@pytest.mark.parametrize("rule", ["bp", "kp"])
def test_a_compiled_run_learns_what_another_does_and_makes_a_graph_for_each_size_of_batch(
    rule, make_config, tmp_path, counters
):
    expected = losses(make_config(rule=rule), tmp_path / "as-it-is")
    assert not counters
    compiled = losses(make_config(rule=rule, compile=True), tmp_path / "compiled")
    assert compiled == pytest.approx(expected, rel=1e-5)
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.filterwarnings("ignore:kp. learning rate")
@pytest.mark.parametrize("rule", ["kp", "brsf"])
def test_a_rule_has_looked_before_the_first_step_and_is_as_it_was(rule, make_config, counters):
    expected = build(make_config(rule=rule)).rule.state_dict()
    setup = build(make_config(rule=rule, compile=True))
    for name, value in setup.rule.state_dict().items():
        assert torch.equal(value, expected[name])
    parameters = [*setup.net.parameters(), *setup.rule.parameters()]
    assert all(parameter.grad is None for parameter in parameters)
    x, y = next(iter(setup.training.epoch(0)))
    setup.rule.assign_credit(setup.taught, x, y, setup.loss_fn)
    assert counters["stats"]["unique_graphs"] == 1  # and no step as plain Python before it


def test_where_all_weights_are_in_linear_layers_a_run_is_warned_that_it_gains_nothing(
    make_config, net_file, counters
):
    plain = net_file("plain")
    assert any("compile: on a CPU" in line for line in build(make_config(net=plain, compile=True)).warnings)
    assert not build(make_config(net=plain)).warnings
    assert not build(make_config(compile=True)).warnings  # has batch normalisation


def test_what_cannot_be_compiled_is_refused_in_a_line(make_config, tmp_path, monkeypatch):
    with pytest.raises(UserMistake, match="'dfa' runs it block by block: leave it out"):
        train(make_config(rule="dfa", compile=True), tmp_path / "run")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserMistake, match="compile needs a C\\+\\+ compiler, and there is no "):
        train(make_config(compile=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_compiler_that_fails_is_named(make_config, tmp_path, monkeypatch):
    def fails(graph, inputs):
        raise ValueError("no room")

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=fails))
    with pytest.raises(UserMistake, match=r"could not be compiled \(.*no room.*\): leave compile out"):
        train(make_config(compile=True), tmp_path)
