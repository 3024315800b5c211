"""What every registered penalty keeps to: it adds to gradients that are there, and changes nothing else."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

import biograd
from biograd import penalties
from biograd.errors import UserMistake
from biograd.testing.snapshots import Traces
from tests.penalties import nets
from tests.penalties.nets import fill

SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "orthogonality": {"strength": 0.1, "kind": "full", "every": 2, "held": True},
    "decay": {"strength": 0.1},
}
every_penalty = pytest.mark.parametrize("name", penalties.names())


def made(name: str, net: nn.Module) -> biograd.Penalty:
    return penalties.create(name, net, **SETTINGS[name])


@every_penalty
def test_weights_buffers_and_random_numbers_stay_and_nothing_is_attached(name):
    net = nets.images().net
    traces, state, random = Traces(net), copy.deepcopy(net.state_dict()), torch.get_rng_state()
    penalty = made(name, net)
    fill(net)
    penalty.add_gradient(net)
    net.zero_grad()
    assert not traces.found()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@every_penalty
def test_it_adds_to_what_is_there_in_place(name):
    net = nets.images().net
    penalty, twin = made(name, net), made(name, net)
    fill(net)
    twin.add_gradient(net)
    alone = {key: p.grad.clone() for key, p in net.named_parameters() if p.grad is not None}
    fill(net, 1.0)
    places = {key: p.grad for key, p in net.named_parameters()}
    penalty.add_gradient(net)
    for key, parameter in net.named_parameters():
        assert parameter.grad is places[key]
        torch.testing.assert_close(parameter.grad, 1 + alone[key], rtol=1e-12, atol=1e-12)


@every_penalty
def test_what_is_frozen_or_was_not_taught_stays_as_it_is(name):
    net = nets.images().net
    penalty = made(name, net)
    fill(net)
    net[2].weight.requires_grad_(False)
    net[9].weight.grad = None
    penalty.add_gradient(net)
    assert not net[2].weight.grad.any()
    assert net[9].weight.grad is None
    assert net[5].weight.grad.any() == (name != "none")


@every_penalty
def test_it_holds_no_tensor_of_the_net_and_nothing_that_an_optimiser_moves(name):
    net = nets.images().net
    penalty = made(name, net)
    held = {value.data_ptr() for value in penalty.state_dict().values()}
    assert not held & {p.data_ptr() for p in net.parameters()}
    assert not list(penalty.parameters())
    assert not any(isinstance(value, nn.Module | torch.Tensor) for value in vars(penalty).values())


@every_penalty
def test_it_is_copied_with_its_state(name):
    net = nets.images().net
    penalty = made(name, net)
    fill(net)
    penalty.add_gradient(net)
    twin = copy.deepcopy(penalty)
    got = []
    for one in (penalty, twin):
        fill(net)
        one.add_gradient(net)
        got.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*got, strict=True))


MINE = '''
import torch
from torch import nn
from biograd import Penalty
from biograd.penalties.base import add_to_gradient


class Lasso(Penalty):
    """The sum of absolute weights.

    Args:
        net: any net.
        strength: of it.
    """

    def __init__(self, net, *, strength: float = 0.5):
        super().__init__()
        self.strength = strength

    def add_gradient(self, net):
        for parameter in net.parameters():
            add_to_gradient(parameter, parameter.sign(), times=self.strength)


class Learned(Lasso):
    def __init__(self, net):
        super().__init__(net)
        self.scale = nn.Parameter(torch.ones(()))


def no_penalty(net): return net
'''


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return lambda name: f"{tmp_path / 'mine.py'}:{name}"


def test_ones_own_is_given_by_its_file(mine):
    net = nn.Linear(2, 2)
    fill(net)
    penalties.create(mine("Lasso"), net, strength="2").add_gradient(net)
    assert torch.equal(net.weight.grad, 2 * net.weight.detach().sign())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Lasso", {"rate": 1}, "has no setting 'rate'; its settings: strength"),
        ("Learned", {}, "has parameters, which no optimiser would move"),
        ("no_penalty", {}, "makes a Linear, expected a biograd.Penalty"),
    ],
)
def test_ones_own_that_is_none_is_refused(mine, name, settings, message):
    with pytest.raises(UserMistake, match=message):
        penalties.create(mine(name), nn.Linear(2, 2), **settings)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UserMistake, match="unknown penalty 'orthogonal': did you mean 'orthogonality'"):
        penalties.create("orthogonal", nn.Linear(2, 2))
