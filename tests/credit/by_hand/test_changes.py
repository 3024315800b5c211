"""A rule that remembers a net does with it what a rule does that never saw it, whatever changed between two steps."""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from biograd import rules
from tests.credit.by_hand.changes import ALL, AROUND, CHAIN, CHANGES, SHAPES, units

Outcome = dict[str, Any] | str
"""Output and gradients by name, or what was raised."""


def batch(make):
    torch.manual_seed(1)
    return torch.randn(SHAPES[make], dtype=torch.float64), torch.tensor([0, 1, 2, 3, 1])


@functools.cache
def first_taught(name, make):
    """A net, and a rule whose first looks at it are over."""
    torch.manual_seed(0)
    net, (x, y) = make(bias=name != "softhebb").double(), batch(make)
    # a kept inverse is made anew where a weight lies elsewhere in memory, which only its own rule knows
    settings = {"inverse": "exact"} if name == "gait-prop" else {}
    rule = rules.create(name, net, sample=x[:1], **settings).double()
    assert isinstance(outcome(rule, net, x, y), dict)
    return net, rule


def taught_net(name, make):
    """A net, a rule that remembers it, and a batch."""
    (net, rule), (x, y) = copy.deepcopy(first_taught(name, make)), batch(make)
    assert isinstance(outcome(rule, net, x, y), dict)
    return net, rule, x, y


def outcome(rule, net, x, y) -> Outcome:
    """What a step gives, which leaves the buffers as they were."""
    rule.zero_grad()
    net.zero_grad()
    buffers = [buffer.clone() for buffer in net.buffers()]
    torch.manual_seed(5)
    try:
        output = rule.assign_credit(net, x, y, F.cross_entropy).output
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        for buffer, before in zip(net.buffers(), buffers, strict=True):
            buffer.data = before
    own = [(f"rule {name}", p) for name, p in rule.named_parameters()]
    return {"": output, **{name: p.grad for name, p in [*net.named_parameters(), *own]}}


@contextlib.contextmanager
def by_autograd() -> Iterator[None]:
    """No block is a unit while a hook watches all modules."""
    handle = register_module_forward_hook(lambda *args: None)
    try:
        yield
    finally:
        handle.remove()


def assert_same(here: Outcome, there: Outcome, what: str, tolerance: float = 0.0) -> None:
    if isinstance(here, str) or isinstance(there, str):
        assert here == there, what
        return
    torch.testing.assert_close(
        here, there, rtol=tolerance, atol=tolerance, msg=lambda said: f"{what}: {said}"
    )


def compared(name, rule, net, x, y) -> Outcome:
    """What a step gives; a copy of the rule, which remembers nothing, gives the same, and so does autograd."""
    stranger, plain = copy.deepcopy(rule), copy.deepcopy(rule)
    here = outcome(rule, net, x, y)
    assert_same(here, outcome(stranger, net, x, y), f"{name} that sees the net for the first time")
    with by_autograd():
        assert_same(here, outcome(plain, net, x, y), f"{name} by autograd", 1e-12)
    return here


MOST = ("fa", "kp", "dfa", "dtp", "gait-prop", "stdp-association", "softhebb")
OTHERS = tuple(name for name in ALL if name not in MOST)
TELLING = (
    *("nothing", "a layer, for one like it", "a layer, for a wider one", "a nonlinearity, for another"),
    *("a layer that does not learn", "a hook", "a hook on the backward", "the forward of a chain within"),
    *("the type of the net", "the mode", "a parametrisation", "the padding"),
)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing", "ignore:Using `torch.compile")
@pytest.mark.parametrize(
    ("what", "names"), [*((what, MOST) for what in CHANGES), *((what, OTHERS) for what in TELLING)]
)
def test_a_change_between_steps_is_seen(what, names):
    change, refused = CHANGES[what], []
    for name in names:
        net, rule, x, y = taught_net(name, change.net)
        net = change.of(net) or net
        found = compared(name, rule, net, x, y)
        if isinstance(found, dict):
            torch.manual_seed(5)
            assert torch.equal(net(x), found[""]), name
        elif found.startswith(("UnsupportedNet", "HiddenBackpropagation")):
            refused.append(name)
        else:
            assert change.fails, (name, found)
    assert refused == [name for name in names if name in change.refused_by], found


@pytest.mark.filterwarnings("ignore:Full backward hook is firing", "ignore:For backward hooks to be called")
@pytest.mark.parametrize("what", AROUND)
def test_what_surrounds_a_step_is_seen(what):
    for name in MOST:
        net, rule, x, y = taught_net(name, units)
        if what == "autocast":  # which lets float64 be
            net, rule, x = net.float(), rule.float(), x.float()
        with AROUND[what](net):
            found = compared(name, rule, net, x, y)
            if isinstance(found, dict):
                assert torch.equal(net(x), found[""]), name
        assert isinstance(found, dict) or (name in CHAIN and what.startswith("chains with another")), found
        compared(name, rule, net, x, y)


def _doubled(decoder, z):
    return 2 * decoder[0](z)


DECODER: dict[str, Callable[[nn.Sequential], object]] = {
    "a layer": lambda decoder: decoder.__setitem__(0, nn.Linear(8, 8, bias=False).double()),
    "a nonlinearity": lambda decoder: decoder.append(nn.Sigmoid()),
    "a hook": lambda decoder: decoder[0].register_forward_hook(lambda layer, given, output: 2 * output),
    "a forward": lambda decoder: setattr(decoder, "forward", MethodType(_doubled, decoder)),
    "what it teaches": lambda decoder: decoder.requires_grad_(False),
}


@pytest.mark.parametrize("what", DECODER)
@pytest.mark.parametrize("name", ["dtp", "drl"])
def test_a_change_of_a_decoder_between_steps_is_seen(name, what):
    net, rule, x, y = taught_net(name, units)
    before = outcome(copy.deepcopy(rule), net, x, y)
    DECODER[what](rule.decoders[0])
    found = compared(name, rule, net, x, y)
    with pytest.raises(AssertionError):
        assert_same(found, before, name)
