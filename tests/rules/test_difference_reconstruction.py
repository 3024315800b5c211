"""What drl, ddtp-linear and l-drl teach when, what they take, and what they refuse."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import biograd
from biograd.errors import UnsupportedNet, UserMistake
from tests.rules.small import Task, assert_same, convolutional, create, gradients, mlp

RULES = ["drl", "ddtp-linear", "l-drl"]
every_rule = pytest.mark.parametrize("name", RULES)


def taught(rule: Any, task: Task) -> dict[str, Tensor | None]:
    """What one call makes of the gradients of the rule's own parameters, which were empty before."""
    rule.zero_grad()
    gradients(rule, task)
    return {name: None if p.grad is None else p.grad.clone() for name, p in rule.named_parameters()}


@every_rule
@pytest.mark.parametrize("epoch", [0, 1])
def test_in_turns_even_epochs_teach_decoders_and_odd_ones_the_net(name, epoch):
    task = mlp()
    rule, parallel = create(name, task, schedule="alternating"), create(name, task)
    rule.begin_epoch(epoch)
    own, of_net = taught(rule, task), gradients(create(name, task), task)
    if epoch == 0:
        assert all(grad is None for grad in gradients(rule, task).values())
        assert_same(own, taught(parallel, task))
    else:
        assert_same(gradients(rule, task), of_net)
        assert all(grad is None for grad in own.values())


@every_rule
def test_what_teaches_decoders_does_not_reach_the_net(name):
    task = mlp()
    loud, quiet = create(name, task, noise=0.5), create(name, task, noise=0.001)
    assert_same(gradients(loud, task), gradients(quiet, task))
    assert any(not torch.equal(a, b) for a, b in _pairs(taught(loud, task), taught(quiet, task)))


def _pairs(one: dict[str, Any], other: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
    return [(one[name], other[name]) for name in one]


@every_rule
def test_every_call_draws_noise_of_its_own(name):
    task = mlp()
    rule = create(name, task)
    first, second = taught(rule, task), taught(rule, task)
    assert all(not torch.equal(a, b) for a, b in _pairs(first, second))


@every_rule
def test_dropout_and_batch_statistics_leave_the_targets_finite_and_the_buffers_alone(name):
    task = convolutional()
    rule = create(name, task)
    before = {key: value.clone() for key, value in task.net.state_dict().items()}
    found = rule.targets(task.net, task.x, task.y, F.cross_entropy)
    losses = rule.reconstruction_losses(task.net, task.x)
    assert [h.shape for h, _ in found.values()] == [(8, 4, 4, 4), (8, 3, 2, 2)]
    assert all(target.isfinite().all() for _, target in found.values())
    assert list(losses) == ["3", "7"]
    assert all(math.isfinite(loss) for loss in losses.values())
    assert_same(dict(task.net.state_dict()), before)


@every_rule
@pytest.mark.parametrize(
    ("setting", "value"), [("alpha", 0), ("noise", 0), ("noise", -0.1), ("step", "median"), ("seed", -1)]
)
def test_settings_out_of_range_are_refused(name, setting, value):
    with pytest.raises(UserMistake, match=setting):
        create(name, mlp(), **{setting: value})


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("drl", "regularization", -1),
        ("ddtp-linear", "regularization", -1),
        ("ddtp-linear", "decoder", "mirror"),
        ("l-drl", "output_noise", 0),
        ("l-drl", "noise_samples", 0),
        ("l-drl", "regularization", 1),
    ],
)
def test_settings_of_one_rule_are_checked(name, setting, value):
    with pytest.raises(UserMistake, match=setting):
        create(name, mlp(), **{setting: value})


@every_rule
def test_a_net_without_hidden_block_is_refused(name):
    with pytest.raises(UnsupportedNet, match="one block"):
        biograd.rules.create(name, nn.Sequential(nn.Linear(3, 2)))


class Unit(nn.Module):
    """A block that has no mirror."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.inner(x))


def with_unit() -> Task:
    task = mlp()
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), Unit(), nn.Linear(6, 3)).double()
    return Task(net, task.x, task.y)


def test_direct_maps_need_no_mirror():
    task = with_unit()
    rule = create("ddtp-linear", task)
    assert all(grad is not None and grad.any() for grad in gradients(rule, task).values())


@pytest.mark.parametrize("name", ["drl", "l-drl"])
def test_decoders_of_a_unit_are_the_users(name):
    task = with_unit()
    with pytest.raises(UnsupportedNet, match="cannot be mirrored"):
        create(name, task)
    rule = create(name, task, decoder=lambda site: nn.Linear(site.given.numel(), site.wanted.numel()))
    assert all(grad is not None and grad.any() for grad in gradients(rule, task).values())


def test_direct_maps_go_from_every_output_to_every_unit():
    task = convolutional()
    rule = create("ddtp-linear", task)
    assert [tuple(direct.Q.shape) for direct in rule.decoders] == [(64, 3), (12, 3)]
    h, output = torch.zeros(2, 4, 4, 4), torch.ones(2, 3)
    assert rule.decoders[0](output.double(), h.double()).shape == h.shape


def test_direct_maps_are_measured_by_what_they_make_of_the_output():
    task = mlp()
    rule = create("ddtp-linear", task)
    hidden = [task.net[:2](task.x), task.net[:4](task.x)]
    output = task.net(task.x)
    losses = rule.reconstruction_losses(task.net, task.x)
    expected = {
        name: ((h - output @ direct.Q.t()).square().sum() / h.square().sum()).item()
        for name, h, direct in zip(["2", "4"], hidden, rule.decoders, strict=True)
    }
    assert losses == pytest.approx(expected)


def test_a_direct_map_of_what_is_all_zero_has_no_relative_error():
    task = mlp()
    with torch.no_grad():
        for parameter in task.net[0].parameters():
            parameter.zero_()
    losses = create("ddtp-linear", task).reconstruction_losses(task.net, task.x)
    assert math.isnan(losses["2"])
    assert math.isnan(losses["4"]) == (not task.net[:4](task.x).any())


def test_more_noise_samples_lessen_the_noise_of_what_l_drl_teaches():
    spreads = {}
    for draws in (1, 64):
        task = mlp()
        rule = create("l-drl", task, noise_samples=draws)
        found = torch.stack([taught(rule, task)["decoders.0.1.weight"] for _ in range(20)])  # pyright: ignore
        spreads[draws] = found.std(0).mean().item()
    assert spreads[1] / spreads[64] == pytest.approx(8, rel=0.3)


def test_without_a_sigma_of_its_own_the_noise_behind_a_block_is_that_before_it():
    task = mlp()
    alike, given = create("l-drl", task, noise=0.2), create("l-drl", task, noise=0.2, output_noise=0.2)
    assert_same(taught(alike, task), taught(given, task))


def test_a_large_regularization_turns_ddtp_to_smaller_targets():
    task = mlp()
    free, bound = create("ddtp-linear", task), create("ddtp-linear", task, regularization=100.0)
    a, b = taught(free, task), taught(bound, task)
    Q = dict(bound.named_parameters())
    for name in a:
        torch.testing.assert_close(b[name], a[name] + 200 * Q[name])  # pyright: ignore[reportOptionalOperand]
