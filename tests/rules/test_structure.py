"""Rules are final classes with parts: what that means, checked on every one of them."""

import inspect
import itertools
import pathlib
import sys
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd import nets, rules
from biograd.rules.base import Awaited, ErrorWeights, Family, Nets, Rule
from biograd.rules.block_rule import BlockRule
from biograd.rules.blockwise import Blockwise
from biograd.rules.feedback_rule import FeedbackRule
from biograd.rules.local_rule import LocalRule

INTERFACES = {Rule, FeedbackRule, BlockRule, LocalRule, Blockwise}
KINDS = [rules.REGISTRY.find(name) for name in rules.REGISTRY.built_in()]
PACKAGE, FOLDER = (str(pathlib.Path(part.__file__).parent) + "/" for part in (biograd, rules))


def bases(kind):
    """The classes of biograd that a rule derives from, itself first."""
    return [base for base in kind.__mro__ if issubclass(base, Rule)]


def test_a_rule_derives_from_interfaces_alone_and_no_rule_from_another():
    assert all(set(bases(kind)[1:]) <= INTERFACES for kind in KINDS)


def test_no_class_is_more_than_two_levels_from_the_interface_of_all():
    assert all(len(bases(kind)) <= 3 for kind in KINDS)


def test_no_method_with_a_body_in_an_interface_is_overridden():
    overridden = []
    for kind in KINDS:
        for place, upper in enumerate(bases(kind)[1:], start=1):
            for name, member in vars(upper).items():
                is_concrete = inspect.isfunction(inspect.unwrap(getattr(member, "fget", member) or member))
                is_abstract = getattr(member, "__isabstractmethod__", False)
                if is_concrete and not is_abstract and name != "__init__":
                    lower = [base for base in bases(kind)[:place] if name in vars(base)]
                    overridden += [f"{base.__name__}.{name}" for base in lower]
    assert overridden == []


def test_every_rule_of_ours_declares_what_it_is():
    for kind in KINDS:
        assert kind.family in get_args(Family)
        assert kind.family != "own"
        assert kind.error_weights in get_args(ErrorWeights)
        assert kind.waits_for in get_args(Awaited)
        assert kind.nets in get_args(Nets)
        assert kind.forward_passes == "depth" or kind.forward_passes >= 1


def test_of_a_function_that_makes_rules_nothing_is_declared(tmp_path):
    (tmp_path / "mine.py").write_text("def make(net, sample=None): ...")
    declared = rules.declared(f"{tmp_path / 'mine.py'}:make")
    assert declared.pop("default_training") == declared.pop("searched_training") == {}
    assert set(declared.values()) == {None}
    assert declared.keys() | {"default_training", "searched_training"} == rules.declared("fa").keys()


@pytest.mark.parametrize("name", rules.REGISTRY.built_in())
def test_what_a_rule_declares_of_its_passes_is_how_often_a_hidden_layer_runs(name):
    """A hook on the second hidden block counts; a mirror phase of wm runs no layer but feeds each one noise."""
    kind = rules.REGISTRY.find(name)
    task = kind.examples.tasks["mlp"]
    torch.manual_seed(0)
    net, (x, y) = task.net().double(), task.batch(8, 0)
    rule = rules.create(name, net, sample=x[:1].double())
    rule.assign_credit(net, x.double(), y, F.cross_entropy)  # feedback rules look at a net first
    runs = []
    hidden = [layer for layer in net if isinstance(layer, nn.Linear)][1]
    hidden.register_forward_hook(lambda *_: runs.append(1))
    rule.assign_credit(net, x.double(), y, F.cross_entropy)
    expected = {"depth": 2, "forward-forward": 2, "wm": 1}
    wanted = expected.get(name, expected.get(kind.forward_passes, kind.forward_passes))
    assert len(runs) == wanted


def test_a_batch_changes_file_at_most_fifteen_times_inside_rules():
    """On a net of three hidden layers; so that who follows one need not turn many pages."""
    changes = {name: file_changes(*net_for(name)) for name in rules.REGISTRY.built_in()}
    assert {name: count for name, count in changes.items() if count > 15} == {}


def net_for(name):
    if name in ("tp", "itp", "gait-prop"):
        return name, nets.create("square", (64,), 10, seed=0, width=64, hidden=3), torch.randn(16, 64)
    net = {"softhebb": "softhebb-mlp", "forward-forward": "ff-mlp"}.get(name, "mlp")
    return name, nets.create(net, (784,), 10, seed=0, widths=(64, 64, 64)), torch.randn(16, 784)


def file_changes(name, net, x):
    """How often control comes from one file of rules/ to another in one call; what comes again turns no new page."""
    y = torch.randint(10, (16,))
    rule = rules.create(name, net, sample=x[:1])
    rule.assign_credit(net, x, y, F.cross_entropy)
    entered, stack = [], []

    def watch(frame, event, _):
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(PACKAGE) and not frame.f_code.co_name.startswith("<"):
            stack.append(frame)
            entered.append(frame.f_code)
        elif event == "return" and stack and stack[-1] is frame:
            stack.pop()
            if stack:
                entered.append(stack[-1].f_code)

    sys.setprofile(watch)
    try:
        rule.assign_credit(net, x, y, F.cross_entropy)
    finally:
        sys.setprofile(None)
    inside = [code for code in entered if code.co_filename.startswith(FOLDER)]
    return sum(a.co_filename != b.co_filename for a, b in set(itertools.pairwise(inside)))
