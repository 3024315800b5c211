"""PEPITA against its equations, worked out in NumPy on a multilayer, a convolutional and a local net."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.layers import LocallyConnected2d
from tests.equations.chains import CHAINS, make
from tests.equations.joins import bias_gradient, joins_of
from tests.equations.plain import WEIGHT_LAYERS, cross_entropy_error, forward


def activity_of(block):
    """h: what the layer passes on, behind its nonlinearity and before pooling."""
    kept = next(step for step in block if isinstance(step.layer, WEIGHT_LAYERS)).y
    for step in block:
        if isinstance(step.layer, nn.Tanh | nn.ReLU):
            kept = step.y
    return kept


def outer(step, difference):
    """The mean over the batch, and over positions that share a weight, of difference · inputᵀ."""
    shares_weights = isinstance(step.layer, nn.Conv2d)
    e = difference / len(difference) / (np.prod(difference.shape[2:]) if shares_weights else 1)
    W = step.layer.weight.detach().numpy()
    found = {f"{step.name}.weight": joins_of(step.layer, step.x.shape[1:]).weight_gradient(e, step.x, W)}
    if step.layer.bias is not None:
        found[f"{step.name}.bias"] = bias_gradient(step.layer, e)
    return found


def expected_gradients(chain, rule, readout_error):
    first = forward(chain.net, chain.x)
    e = cross_entropy_error(first[-1].y, chain.y) * len(chain.x)
    modulated = chain.x + torch.from_numpy((e @ rule.F.numpy().T).reshape(chain.x.shape))
    second = forward(chain.net, modulated)
    if readout_error == "modulated":
        e = cross_entropy_error(second[-1].y, chain.y) * len(chain.x)
    found = {}
    for part in chain.blocks[:-1]:
        step = next(step for step in second[part] if isinstance(step.layer, WEIGHT_LAYERS))
        found |= outer(step, activity_of(first[part]) - activity_of(second[part]))
    return found | outer(second[-1], e)


@pytest.mark.parametrize("readout_error", ["modulated", "standard"])
@pytest.mark.parametrize("name", CHAINS)
def test_layers_learn_from_the_change_of_their_activity_when_the_error_perturbs_the_input(
    name, readout_error
):
    chain = make(name)
    rule = biograd.Pepita(chain.net, chain.x[:1], scale=0.6, readout_error=readout_error, seed=3)
    credit = rule.assign_credit(chain.net, chain.x, chain.y, F.cross_entropy)
    expected = expected_gradients(chain, rule, readout_error)
    np.testing.assert_allclose(
        credit.output.numpy(), forward(chain.net, chain.x)[-1].y, rtol=1e-12, atol=1e-13
    )
    assert expected.keys() == dict(chain.net.named_parameters()).keys()
    for key, parameter in chain.net.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), expected[key], rtol=1e-11, atol=1e-13, err_msg=key)


def test_in_a_linear_net_the_first_layer_is_told_what_feedback_alignment_with_minus_WF_tells_it():
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 3)).double()
    x, y = torch.randn(8, 5, dtype=torch.float64), torch.randint(3, (8,))
    rule = biograd.Pepita(net, seed=1)
    rule.assign_credit(net, x, y, F.cross_entropy)
    with torch.no_grad():
        e = torch.softmax(net(x), 1) - F.one_hot(y, 3)
        told = -e @ rule.F.t() @ net[0].weight.t()
        torch.testing.assert_close(net[0].weight.grad, told.t() @ (x + e @ rule.F.t()) / 8)
        torch.testing.assert_close(net[0].bias.grad, told.mean(0))


def test_the_error_is_that_of_any_loss():
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x, target = torch.randn(8, 5, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
    rule = biograd.Pepita(net, seed=1)
    rule.assign_credit(net, x, target, F.mse_loss)
    with torch.no_grad():
        moved = x + 2 / 3 * (net(x) - target) @ rule.F.t()
        difference = net[:2](x) - net[:2](moved)
        torch.testing.assert_close(net[0].weight.grad, difference.t() @ moved / 8)
        torch.testing.assert_close(
            net[2].weight.grad, (2 / 3 * (net(moved) - target)).t() @ net[:2](moved) / 8
        )


def masks(layer):
    """Which units pass a dropout layer, in each of its runs."""
    found = []
    layer.register_forward_hook(lambda module, args, out: found.append(out != 0))
    return found


@pytest.mark.parametrize("inplace", [False, True])
def test_both_passes_have_the_same_dropout_masks_and_units_that_are_dropped_do_not_learn(inplace):
    torch.manual_seed(0)
    net: Any = nn.Sequential(
        *(nn.Linear(5, 40), nn.Sigmoid(), nn.Dropout(0.5, inplace), nn.Linear(40, 30), nn.Sigmoid()),
        *(nn.Unflatten(1, (5, 6)), nn.Flatten(), nn.Dropout(0.5, inplace), nn.Linear(30, 3)),
    )
    rule = biograd.Pepita(net, torch.randn(1, 5))
    seen = [masks(net[2]), masks(net[7])]
    rule.assign_credit(net, torch.randn(1, 5), torch.tensor([2]), F.cross_entropy)
    for (first, second), weighing in zip(seen, (net[0], net[3]), strict=True):
        assert torch.equal(first, second)
        assert 0 < first.sum() < first.numel()
        learns = (weighing.weight.grad != 0).any(1)
        assert torch.equal(learns, first[0])
        assert torch.equal(weighing.bias.grad != 0, first[0])


@pytest.mark.parametrize(("distribution", "bound"), [("uniform", 3**0.5), ("normal", None)])
def test_F_has_the_standard_deviation_that_the_scale_asks_for(distribution, bound):
    net = nn.Sequential(nn.Linear(784, 4), nn.ReLU(), nn.Linear(4, 10))
    drawn = biograd.Pepita(net, scale=0.3, distribution=distribution, seed=2).F
    sigma = 0.3 * (2 / 784) ** 0.5
    assert drawn.shape == (784, 10)
    assert drawn.mean().item() == pytest.approx(0, abs=0.05 * sigma)
    assert drawn.std().item() == pytest.approx(sigma, rel=0.05)
    largest = drawn.abs().max().item() / sigma
    assert largest <= bound * 1.001 if bound else largest > 3


def test_a_weight_shared_over_positions_learns_from_their_mean_and_one_of_a_position_of_its_own_does_not():
    torch.manual_seed(0)
    shared: Any = nn.Sequential(
        nn.Conv2d(1, 2, 2, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    ).double()
    own: Any = nn.Sequential(
        LocallyConnected2d(1, 2, 2, (4, 4), stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    ).double()
    with torch.no_grad():
        own[0].weight.copy_(shared[0].weight.permute(2, 3, 1, 0).expand(2, 2, 2, 2, 1, 2))
        own[0].bias.copy_(shared[0].bias[:, None, None].expand(2, 2, 2))
        own[3].load_state_dict(shared[3].state_dict())
    x, y = torch.randn(6, 1, 4, 4, dtype=torch.float64), torch.randint(3, (6,))
    for net in (shared, own):
        biograd.Pepita(net, x[:1], seed=1).assign_credit(net, x, y, F.cross_entropy)
    mean = own[0].weight.grad.mean((0, 1)).permute(3, 2, 0, 1)
    torch.testing.assert_close(shared[0].weight.grad, mean)
    torch.testing.assert_close(shared[0].bias.grad, own[0].bias.grad.mean((1, 2)))
