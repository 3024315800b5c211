"""What PEPITA asks of nets and inputs, and what it leaves alone."""

import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd import nets
from biograd.errors import UnsupportedNet, UserMistake


def task(**settings):
    torch.manual_seed(0)
    net: Any = nets.create("mlp", (5,), 3, seed=0, widths=(8, 8))
    x, y = torch.randn(12, 5), torch.randint(3, (12,))
    return net, x, y, biograd.Pepita(net, x[:1], **settings)


def taught(net, x, y, rule):
    net.zero_grad()
    rule.assign_credit(net, x, y, F.cross_entropy)
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters()}


def test_without_an_error_hidden_layers_stay():
    net, x, _, rule = task()
    rule.assign_credit(net, x, torch.zeros(12, 3), lambda output, y: (output * y).sum() / 12)
    assert not any(parameter.grad.any() for parameter in net.parameters())


def test_no_weight_is_carried_backwards():
    """What a layer is told depends on weights above it by the error alone."""
    net, x, y, rule = task(readout_error="standard")
    constant = torch.randn(12, 3)

    def told():
        net.zero_grad()
        rule.assign_credit(net, x, y, lambda output, y: (output * constant).sum() / 12)
        return [net[0].weight.grad.clone(), net[2].weight.grad.clone()]

    before = told()
    with torch.no_grad():
        net[4].weight.normal_()
    assert all(torch.equal(a, b) for a, b in zip(before, told(), strict=True))


def test_the_gradient_for_the_input_goes_through_the_first_layer_alone():
    net, x, y, rule = task()
    told = rule.input_gradient(net, x, y, F.cross_entropy)
    with torch.no_grad():
        e = torch.softmax(net(x), 1) - F.one_hot(y, 3)
        difference = net[:2](x) - net[:2](x + e @ rule.F.t())
        torch.testing.assert_close(told, difference @ net[0].weight / 12)


def test_a_net_without_hidden_layers_learns_at_the_moved_input():
    torch.manual_seed(0)
    net, x, y = nn.Sequential(nn.Linear(5, 3)), torch.randn(12, 5), torch.randint(3, (12,))
    rule = biograd.Pepita(net, x[:1])
    found = taught(net, x, y, rule)
    with torch.no_grad():
        moved = x + (torch.softmax(net(x), 1) - F.one_hot(y, 3)) @ rule.F.t()
        e = torch.softmax(net(moved), 1) - F.one_hot(y, 3)
        torch.testing.assert_close(found["0.weight"], e.t() @ moved / 12)
    leaf = x.clone().requires_grad_()
    exact = torch.autograd.grad(F.cross_entropy(net(leaf), y), leaf)[0]
    torch.testing.assert_close(rule.input_gradient(net, x, y, F.cross_entropy), exact)


def test_a_penalty_on_weights_keeps_its_derivative_and_counts_once():
    net, x, y, rule = task()
    plain = taught(net, x, y, rule)
    net.zero_grad()
    rule.assign_credit(net, x, y, lambda o, y: F.cross_entropy(o, y) + net[0].weight.square().sum())
    torch.testing.assert_close(net[0].weight.grad, plain["0.weight"] + 2 * net[0].weight)
    torch.testing.assert_close(net[4].weight.grad, plain["4.weight"])


def test_running_statistics_see_the_first_run_alone():
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Linear(6, 3))
    x, y = torch.randn(12, 5), torch.randint(3, (12,))
    biograd.Pepita(net, x[:1], scale=5.0).assign_credit(net, x, y, F.cross_entropy)
    torch.testing.assert_close(net[1].running_mean, 0.1 * net[0](x).mean(0))
    assert net[1].num_batches_tracked == 1


def test_residual_units_are_refused_by_name():
    net = nets.create("resnet20", (3, 8, 8), 3, seed=0)
    with pytest.raises(UnsupportedNet, match="pepita teaches linear, convolutional and locally connected"):
        biograd.Pepita(net, torch.randn(1, 3, 8, 8), inside="exact")


def test_inputs_of_another_size_are_refused():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    rule = biograd.Pepita(net, torch.randn(1, 1, 6, 6))
    with pytest.raises(UnsupportedNet, match=r"the input is \(1, 7, 7\), 36 units were seen"):
        rule.assign_credit(net, torch.randn(2, 1, 7, 7), torch.tensor([0, 1]), F.cross_entropy)


@pytest.mark.parametrize(
    "settings",
    [{"scale": 0.0}, {"distribution": "cauchy"}, {"readout_error": "none"}, {"seed": -1}],
    ids=str,
)
def test_bad_settings_are_refused(settings):
    (setting,) = settings
    with pytest.raises(UserMistake, match=f"setting '{setting}' got"):
        task(**settings)


def test_a_run_has_the_optimiser_of_the_paper_unless_told_otherwise(tmp_path, biograd):
    ended = biograd(
        "train", "--rule", "pepita", "--data", "iris", "--net", "mlp", "--net.widths", 64, "--epochs", 30,
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["optimizer"]["name"] == "sgd"
    assert config["optimizer"]["settings"]["momentum"] == 0.9
    assert config["batch_size"] == 64
    assert ended.row["test_accuracy"] >= 0.9


def test_a_layer_that_stands_in_several_places_learns_in_all_of_them():
    torch.manual_seed(0)
    net: Any = nets.create("mlp", (5,), 5, seed=0, widths=(5, 5, 5)).double()
    shared = nn.Sequential(net[0], net[1], net[2], net[3], net[2], net[5], net[2])
    net[4].load_state_dict(net[2].state_dict())
    net[6].load_state_dict(net[2].state_dict())
    x, y = torch.randn(12, 5, dtype=torch.float64), torch.randint(5, (12,))
    apart = taught(net, x, y, biograd.Pepita(net, x[:1]))
    together = taught(shared, x, y, biograd.Pepita(shared, x[:1]))
    torch.testing.assert_close(together["0.weight"], apart["0.weight"])
    for name in ("weight", "bias"):
        torch.testing.assert_close(
            together[f"2.{name}"], sum(apart[f"{place}.{name}"] for place in (2, 4, 6))
        )
