"""What a rule remembers of a net is nobody else's, is not saved, and lets the net go."""

import copy
import gc
import io
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import rules
from biograd.credit.by_hand.remembered import _SEEN, Remembered
from biograd.credit.chain.blocks import blocks
from tests.credit.by_hand.changes import ALL, units
from tests.credit.by_hand.test_changes import assert_same, batch, outcome, taught_net

X, Y = batch(units)


def reloaded(rule):
    """The rule itself, written to a file and read again."""
    file = io.BytesIO()
    torch.save(rule, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("again", [copy.deepcopy, copy.copy, reloaded])
@pytest.mark.parametrize("name", ["fa", "dtp", "stdp-association"])
def test_a_copy_of_a_rule_goes_on_as_the_rule_would_on_the_same_net_and_on_a_copy(name, again):
    net, rule, x, y = taught_net(name, units)
    other, twin = again(copy.deepcopy(rule)), copy.deepcopy(net)
    here = outcome(rule, net, x, y)
    assert_same(here, outcome(other, twin, x, y), name)


@pytest.mark.parametrize("name", ALL)
def test_a_rule_on_two_nets_in_turn_and_two_rules_on_one_net_do_as_they_would_alone(name):
    net, rule, x, y = taught_net(name, units)
    wide = copy.deepcopy(net)
    with torch.no_grad():
        wide[1].weight.mul_(2)
    twin, alone, other = (copy.deepcopy(rule) for _ in range(3))
    for here in (net, wide, net):
        assert_same(outcome(rule, here, x, y), outcome(alone, copy.deepcopy(here), x, y), name)
        assert_same(outcome(twin, here, x, y), outcome(other, here, x, y), name)


@pytest.mark.parametrize("name", ALL)
def test_a_net_that_nobody_else_holds_goes_with_its_weights_while_its_rule_stays(name):
    net, rule, x, y = taught_net(name, units)
    left = [weakref.ref(net), weakref.ref(net[1]), weakref.ref(net[1].weight)]
    del net
    gc.collect()
    assert [reference() for reference in left] == [None] * 3
    assert isinstance(outcome(rule, taught_net(name, units)[0], x, y), dict)


@pytest.mark.parametrize("name", ["fa", "dfa"])
def test_a_net_whose_hook_knows_it_goes_with_its_rule(name):
    net, rule, x, y = taught_net(name, units)
    net[1].register_forward_hook(lambda *args, of=net: None)
    outcome(rule, net, x, y)
    left = weakref.ref(net)
    del net, rule
    gc.collect()
    assert left() is None


def chain():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))


def test_blocks_are_given_again_as_units_for_batches_of_the_net_s_type_alone():
    remembered, net = Remembered(), chain()
    assert remembered.of(net, torch.ones(1, 2)) is None
    remembered.keep(net, blocks(net))
    (first, second) = remembered.of(net, torch.ones(1, 2)) or ()
    assert [block.unit.opening for block in (first, second) if block.unit] == [net[0], net[2]]
    for x in (
        None,
        torch.ones(1, 2).double(),
        torch.ones(1, 2, device="meta"),
        nn.Parameter(torch.ones(1, 2)),
    ):
        assert [block.unit for block in remembered.of(net, x) or ()] == [None, None]


class Marked(nn.Parameter):
    """A parameter of a kind of its own."""


def with_weight(weight):
    net = chain()
    net[2].weight = weight
    return net


def with_a_part():
    net = chain()
    net[1].add_module("part", nn.Tanh())
    return net


def with_nothing():
    net = chain()
    net._modules["1"] = None
    return net


@pytest.mark.parametrize(
    "make",
    [
        with_a_part,
        with_nothing,
        lambda: with_weight(Marked(torch.ones(2, 3))),
        lambda: with_weight(nn.Parameter(torch.ones(2, 3, dtype=torch.int64), requires_grad=False)),
        lambda: with_weight(nn.Parameter(torch.ones(2, 3).to_sparse())),
    ],
    ids=["a part", "nothing", "a class", "whole numbers", "sparse"],
)
def test_chains_with_parts_in_their_layers_and_parameters_of_other_kinds_are_not_remembered(make):
    remembered, net = Remembered(), make()
    remembered.keep(net, blocks(net))
    assert remembered.of(net, None) is None


def test_no_block_is_a_unit_under_autocast_and_within_transforms():
    remembered, net, x = Remembered(), chain(), torch.ones(1, 2)
    remembered.keep(net, blocks(net))

    def given(z):
        assert [block.unit for block in remembered.of(net, x) or ()] == [None, None]
        return z

    with torch.autocast("cpu", torch.bfloat16):
        given(x)
    torch.func.vmap(given)(x)


CHANGED = {
    "whether it learns": lambda weight: weight.requires_grad_(False),
    "its type": lambda weight: setattr(weight, "data", weight.data.double()),
    "its shape": lambda weight: setattr(weight, "data", weight.data.new_ones(3, 5)),
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_changes_about_a_parameter_that_stays_is_noticed(what):
    remembered, net = Remembered(), chain()
    remembered.keep(net, blocks(net))
    assert remembered.of(net, None)
    CHANGED[what](net[0].weight)
    assert remembered.of(net, None) is None


def test_a_move_to_another_device_that_keeps_the_parameters_is_noticed():
    remembered, net = Remembered(), chain()
    remembered.keep(net, blocks(net))
    seen = _SEEN[net][remembered]
    # no two devices here share a kind of tensor: it is as if the net had come from one
    seen._parameters = [(*one[:3], torch.device("meta"), *one[4:]) for one in seen._parameters]
    assert remembered.of(net, None) is None


class Two(nn.Module):
    """A layer without parts that multiplies by two weights."""

    def __init__(self) -> None:
        super().__init__()
        self.W, self.V = (nn.Parameter(torch.eye(8).double()) for _ in range(2))

    def forward(self, x):
        return x @ self.W @ self.V


def test_a_block_of_two_weights_that_begins_to_learn_is_refused():
    net = units(bias=True)
    net[4] = Two().requires_grad_(False)
    rule = rules.create("dfa", net.double(), sample=X[:1]).double()
    for _ in range(2):
        assert isinstance(outcome(rule, net, X, Y), dict)
    net[4].requires_grad_(True)
    assert str(outcome(rule, net, X, Y)).startswith("HiddenBackpropagation")


def test_one_net_alone_is_remembered():
    remembered, nets = Remembered(), (chain(), chain())
    for net in nets:
        remembered.keep(net, blocks(net))
    assert [remembered.of(net, None) is None for net in nets] == [True, False]


def test_layers_of_two_types_are_no_units():
    net = chain()
    net[2].double()
    remembered = Remembered()
    remembered.keep(net, blocks(net))
    assert [block.unit for block in remembered.of(net, torch.ones(1, 2)) or ()] == [None, None]


def test_a_rule_sees_a_net_once_more_where_it_changed_and_not_where_it_did_not(monkeypatch):
    from biograd.credit.chain import taught_chain

    looks = []
    plain = taught_chain.blocks
    monkeypatch.setattr(taught_chain, "blocks", lambda net: looks.append(net) or plain(net))
    net = units(bias=True).double()
    rule = rules.create("dfa", net, sample=X[:1]).double()
    looks.clear()
    for _ in range(3):
        rule.assign_credit(net, X, Y, F.cross_entropy)
    net[2].register_forward_hook(lambda *args: None)
    for _ in range(3):
        rule.assign_credit(net, X, Y, F.cross_entropy)
    assert looks == [net]  # the first was when the rule was made
