"""Users' own nets and rules that fail: one line before there is a folder; our own faults keep their traceback."""

import pytest
from torch import nn

from biograd import rules
from biograd.errors import UserMistake
from biograd.rules.backpropagation import Backpropagation
from biograd.training import train

MINE = """
import math
import torch
from torch import nn
from biograd import Backpropagation, Credit, Rule


def raising(input_shape, outputs):
    raise KeyError("nothing\\nsecond line")

def nothing(input_shape, outputs): pass

def one_argument(input_shape): pass

class Plain: pass

LSTM = nn.LSTM

class NoSizes(nn.Module):
    def __init__(self, input_shape, outputs, more):
        super().__init__()

def unfit(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(5, outputs))

def narrow(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), 1))

def overwritten(input_shape, outputs):
    return nn.Sequential(nn.Linear(math.prod(input_shape), 8), nn.Sigmoid(), nn.Hardtanh(inplace=True),
                         nn.Linear(8, outputs))

def lazy(input_shape, outputs):
    return nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.Linear(8, outputs))

def no_rule(net, sample): return net

class WithoutSample(Backpropagation):
    def __init__(self, net): super().__init__(net)

class WithoutMethod(Rule):
    def __init__(self, net, sample): super().__init__()

class Raising(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn): raise ZeroDivisionError("by\\nnought")

class RaisingWhenMade(Backpropagation):
    def __init__(self, net, sample): raise IndexError("no such layer")

class RaisingAdvice(Backpropagation):
    def check_optimizer(self, optimizer, steps): raise IndexError("no such group")

class Silent(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn): super().assign_credit(net, x, y, loss_fn)

class Numbers(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn): return Credit(0.5, 1)

class Long(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        credit = super().assign_credit(net, x, y, loss_fn)
        return Credit(torch.ones(2), credit.output)

class Turned(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        credit = super().assign_credit(net, x, y, loss_fn)
        return Credit(credit.loss, credit.output.T)

class Unborn(Backpropagation):
    def __init__(self, net, sample=None): torch.nn.Module.__init__(self)

class Untaught(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        credit = super().assign_credit(net, x, y, loss_fn)
        net.zero_grad()
        return credit
"""
NETS = {
    "raising": "failed: KeyError: 'nothing\\\\nsecond line'",
    "nothing": "makes a NoneType, expected a torch.nn.Module",
    "one_argument": r"takes \(input_shape\), expected \(input_shape, outputs",
    "Plain": "is no net: expected a torch.nn.Module",
    "WithoutMethod": "is no net: expected a torch.nn.Module",
    "NoSizes": "failed: TypeError: .*missing 1 required positional argument",
    "unfit": "failed: RuntimeError: mat1 and mat2",
    "narrow": r"gives \(2, 1\) for 2 examples, expected \(2, 3\): one output a class",
    "overwritten": "failed: RuntimeError: one of the variables",
    "lazy": r"has a layer without sizes \('0.weight'\): give the layer its sizes",
}
RULES = {
    "Plain": "is no rule: expected a class derived from biograd.Rule",
    "LSTM": "is no rule: expected a class derived from biograd.Rule",
    "no_rule": "makes a Sequential, expected a biograd.Rule",
    "WithoutSample": r"takes \(net\), expected \(net, sample.*check_rule",
    "WithoutMethod": r"must define assign_credit\(self, net, x, y, loss_fn\).*check_rule",
    "Raising": "failed: ZeroDivisionError: by; try it with biograd.testing.check_rule",
    "RaisingWhenMade": "failed: IndexError: no such layer",
    "RaisingAdvice": "failed: IndexError: no such group",
    "Silent": "must return Credit.*got None.*check_rule",
    "Numbers": "must return Credit.*check_rule",
    "Long": r"has shape \(2,\), expected a scalar",
    "Turned": r"the output in Credit is \(3, 2\) for 2 examples, expected \(2, 3\)",
    "Unborn": r"its __init__ must call super\(\).__init__\(\) first",
    "Untaught": "filled .grad of no parameter.*check_rule",
}


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return lambda name: f"{tmp_path / 'mine.py'}:{name}"


def refused(config, folder, message):
    with pytest.raises(UserMistake, match=message) as caught:
        train(config, folder)
    assert "\n" not in str(caught.value)
    assert not folder.exists()


@pytest.mark.parametrize("rule", ["bp", "fa"])
@pytest.mark.parametrize("name", NETS)
def test_a_net_that_fails_is_one_line(name, rule, mine, make_config, tmp_path):
    refused(
        make_config(rule=rule, net=mine(name)), tmp_path / "run", rf"net '.*mine\.py:{name}' {NETS[name]}"
    )


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_fails_is_one_line(name, mine, make_config, tmp_path):
    with pytest.raises(UserMistake, match=RULES[name]) as caught:
        train(make_config(rule=mine(name)), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("error", [RuntimeError("ours"), TypeError("ours")])
def test_a_fault_of_a_rule_of_ours_stays_one(error, mine, make_config, net_file, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(Backpropagation, "assign_credit", fail)
    with pytest.raises(type(error), match="ours"):
        train(make_config(net=net_file("chain")), tmp_path / "run")


def test_a_net_that_is_registered_keeps_its_own_errors(make_config, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("ours")

    config = make_config(net="mlp")
    monkeypatch.setattr(nn.Linear, "forward", fail)
    with pytest.raises(RuntimeError, match="ours"):
        train(config, tmp_path / "run")


def test_memory_that_is_too_small_is_no_mistake(mine, make_config, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    config = make_config(rule=mine("Untaught"))
    monkeypatch.setattr(rules, "create", fail)
    with pytest.raises(MemoryError):
        train(config, tmp_path / "run")
