"""A decay is of the weights that are named, and of no other."""

import pytest
import torch
from torch import Tensor, nn

from biograd import penalties
from biograd.errors import UserMistake
from tests.penalties import nets
from tests.penalties.nets import fill


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6, bias=False), nn.Tanh(), nn.Linear(6, 3)).double()


def added(net: nn.Module, **settings: object) -> dict[str, Tensor]:
    before = fill(net, 2.0)
    penalties.create("decay", net, **settings).add_gradient(net)
    return {name: p.grad - before[name] for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("make", nets.ALL, ids=lambda make: make.__name__)
def test_it_is_the_derivative_of_half_the_squared_length_of_every_weight(make):
    net = make().net
    weights = {name: p for name, p in net.named_parameters() if p.dim() >= 2}
    half = sum(w.square().sum() for w in weights.values()) / 2
    expected = dict(zip(weights, torch.autograd.grad(0.3 * half, list(weights.values())), strict=True))
    for name, gradient in added(net, strength=0.3).items():
        torch.testing.assert_close(
            gradient, expected.get(name, torch.zeros_like(gradient)), rtol=1e-9, atol=1e-12
        )


def test_it_is_of_the_weights_that_are_named_alone():
    net = small()
    got = added(net, strength=0.3, weights=("2.weight",))
    torch.testing.assert_close(got["2.weight"], 0.3 * net[2].weight.detach(), rtol=1e-12, atol=1e-15)
    assert not got["0.weight"].any()
    assert not got["2.bias"].any()


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        (("0.*",), {"0.weight"}),
        (("0.weight", "*"), {"0.weight", "2.weight"}),
        (("[2-9].weight",), {"2.weight"}),
        ("2.weight,0.*", {"0.weight", "2.weight"}),
    ],
)
def test_a_pattern_names_all_that_fit_it_and_each_once(weights, named):
    net = small()
    got = added(net, strength=0.5, weights=weights)
    assert {name for name, gradient in got.items() if gradient.any()} == named
    for name in named:
        torch.testing.assert_close(got[name], 0.5 * net.get_parameter(name).detach(), rtol=1e-12, atol=1e-15)


def test_a_step_of_gradient_descent_shrinks_the_weight_as_the_regularised_algorithm_does():
    net = small()
    before = net[2].weight.detach().clone()
    gradient = fill(net, 0.7)["2.weight"]
    penalties.create("decay", net, strength=0.3, weights=("2.weight",)).add_gradient(net)
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    expected = (1 - 0.1 * 0.3) * before - 0.1 * gradient
    torch.testing.assert_close(net[2].weight.detach(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"strength": 0.1, "weights": ("2.bias",)},
            "'2.bias' fits no weight of the net: those are 0.weight, 2.w",
        ),
        ({"strength": 0.1, "weights": ("2.weight", "3.*")}, "'3.*' fits no weight"),
        ({"strength": 0.1, "weights": ()}, "setting 'weights' got"),
        ({"strength": -0.1}, "setting 'strength' got -0.1"),
        ({"strength": 0}, "setting 'strength' got 0"),
        ({"weights": ("2.weight",)}, "needs the setting 'strength'"),
    ],
)
def test_half_a_setting_and_a_wrong_name_are_refused(settings, message):
    with pytest.raises(UserMistake, match=message) as caught:
        penalties.create("decay", small(), **settings)
    assert "\n" not in str(caught.value)
