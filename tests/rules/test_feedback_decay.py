import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.errors import UserMistake


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6, bias=False), nn.Tanh(), nn.Linear(6, 3)).double()


def taught(net, **settings):
    x, y = (
        torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
        torch.arange(5) % 3,
    )
    net.zero_grad()
    rule = biograd.FeedbackAlignment(net, seed=2, **settings)
    credit = rule.assign_credit(net, x, y, F.cross_entropy)
    return credit, {name: p.grad.clone() for name, p in net.named_parameters()}


def test_the_decay_adds_its_share_of_the_chosen_weights_to_their_gradient_and_to_no_other():
    net = small()
    plain, without = taught(net)
    decayed, with_decay = taught(net, decay=0.3, decayed=("2.weight",))
    assert torch.equal(plain.loss, decayed.loss)
    torch.testing.assert_close(
        with_decay["2.weight"], without["2.weight"] + 0.3 * net[2].weight, rtol=1e-12, atol=0
    )
    for name in ("0.weight", "2.bias"):
        assert torch.equal(with_decay[name], without[name])


def test_a_step_of_gradient_descent_shrinks_the_weight_as_the_regularised_algorithm_does():
    net = small()
    before = net[2].weight.detach().clone()
    _, without = taught(net)
    taught(net, decay=0.3, decayed=("2.weight",))
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    expected = (1 - 0.1 * 0.3) * before - 0.1 * without["2.weight"]
    torch.testing.assert_close(net[2].weight.detach(), expected, rtol=1e-12, atol=1e-15)


def test_frozen_weights_do_not_decay():
    net = small()
    net[2].weight.requires_grad_(False)
    rule = biograd.FeedbackAlignment(net, decay=0.3, decayed=("2.weight",))
    rule.assign_credit(net, torch.randn(5, 4).double(), torch.arange(5) % 3, F.cross_entropy)
    assert net[2].weight.grad is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": 0.1}, "no weight: give both"),
        ({"decayed": ("2.weight",)}, "decay 0 for 2.weight"),
        ({"decay": 0.1, "decayed": ("2.bias",)}, "'2.bias', which is no weight"),
        ({"decay": -0.1, "decayed": ("2.weight",)}, "decay"),
    ],
)
def test_half_a_setting_and_a_wrong_name_are_refused(settings, message):
    with pytest.raises(UserMistake, match=message):
        biograd.FeedbackAlignment(small(), **settings)
