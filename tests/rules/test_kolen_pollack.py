"""Kolen–Pollack: B receives W's own gradient, so that decay, and nothing else, brings the two together."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from tests.rules.small import Task, assert_same, convolutional, create, gradients, mlp

WITHOUT_DECAY: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "Adam": {"lr": 1e-2, "amsgrad": True},
    "AdamW": {"lr": 1e-2, "weight_decay": 0.0},
    "RMSprop": {"lr": 1e-2, "momentum": 0.5, "centered": True},
    "Adagrad": {"lr": 1e-1},
    "Adadelta": {"lr": 1.0},
    "Adamax": {"lr": 1e-2},
    "NAdam": {"lr": 1e-2},
    "RAdam": {"lr": 1e-2},
    "Rprop": {"lr": 1e-2},
    "Muon": {"lr": 1e-2, "weight_decay": 0.0},
}


def matrices(task: Task) -> Task:
    """The same net without biases, as Muon wants it."""
    for module in task.net.modules():
        if isinstance(module, nn.Linear):
            module.register_parameter("bias", None)
    return task


def optimizer_for(kind: str, task: Task, rule: nn.Module, **settings: Any) -> torch.optim.Optimizer:
    if not hasattr(torch.optim, kind):
        pytest.skip(f"PyTorch {torch.__version__} has no {kind}")
    return getattr(torch.optim, kind)([*task.net.parameters(), *rule.parameters()], **settings)


def differences(rule: Any, task: Task) -> dict[str, torch.Tensor]:
    return {
        name: (W - rule.B[name]).detach().clone()
        for name, W in task.net.named_parameters()
        if name in rule.names
    }


def train(rule: Any, task: Task, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
        optimizer.step()


@pytest.mark.parametrize("kind", WITHOUT_DECAY)
def test_without_decay_the_difference_of_W_and_B_stays_what_it_was(kind):
    task = matrices(mlp())
    rule = create("kp", task)
    start, W = differences(rule, task), copy.deepcopy(task.net.state_dict())
    train(rule, task, optimizer_for(kind, task, rule, **WITHOUT_DECAY[kind]), steps=30)
    for name, difference in differences(rule, task).items():
        torch.testing.assert_close(difference, start[name], rtol=0, atol=1e-13)
        assert (task.net.state_dict()[name] - W[name]).abs().max() > 1e-3  # it did learn


@pytest.mark.parametrize("kind", ["SGD", "AdamW", "Muon"])
@pytest.mark.parametrize("make", [mlp, convolutional])
def test_under_decoupled_decay_the_difference_shrinks_by_the_same_factor_at_every_step(kind, make):
    task = make()
    if kind == "Muon":
        task = matrices(mlp())
    rule = create("kp", task)
    start, rate, decay, steps = differences(rule, task), 0.02, 1.5, 40
    optimizer = optimizer_for(kind, task, rule, lr=rate, weight_decay=decay)
    train(rule, task, optimizer, steps)
    for name, difference in differences(rule, task).items():
        left = float(difference.norm() / start[name].norm())
        assert left == pytest.approx((1 - rate * decay) ** steps, rel=1e-12)
        torch.testing.assert_close(difference, start[name] * left, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["SGD", "AdamW", "Muon"])
def test_enough_decoupled_decay_needs_no_warning_and_too_little_gets_one_with_the_figure(kind):
    task = matrices(mlp())
    rule = create("kp", task)
    optimizer = optimizer_for(kind, task, rule, lr=1e-2, weight_decay=1.0)
    assert rule.check_optimizer(optimizer, 300) == []
    (warning,) = rule.check_optimizer(optimizer, 100)
    assert "= 1, and B needs about 3" in warning
    assert "\n" not in warning


def test_biases_without_decay_need_no_warning_and_weights_without_it_get_one():
    task = mlp()
    rule = create("kp", task)
    biases = [p for p in task.net.parameters() if p.dim() == 1]
    weights = [p for p in task.net.parameters() if p.dim() > 1]
    groups = [{"params": [*weights, *rule.parameters()]}, {"params": biases, "weight_decay": 0.0}]
    assert rule.check_optimizer(torch.optim.AdamW(groups, lr=1e-2, weight_decay=1.0), 1000) == []
    groups = [{"params": rule.parameters()}, {"params": task.net.parameters(), "weight_decay": 0.0}]
    assert len(rule.check_optimizer(torch.optim.AdamW(groups, lr=1e-2, weight_decay=1.0), 1000)) == 1


@pytest.mark.parametrize("kind", ["Adam", "RMSprop", "NAdam", "RAdam", "Adamax"])
def test_decay_that_is_divided_by_the_size_of_gradients_is_enough_where_it_is_small(kind):
    task = mlp()
    rule = create("kp", task)
    optimizer = optimizer_for(kind, task, rule, lr=1e-3, weight_decay=1e-2)
    assert rule.check_optimizer(optimizer, 1500) == []
    (warning,) = rule.check_optimizer(optimizer, 1000)
    assert f"= 0.01, and B needs about 0.015 under {kind}" in warning
    assert "\n" not in warning


@pytest.mark.parametrize("kind", ["Adam", "RMSprop"])
@pytest.mark.parametrize("decay", [0.0, 1e-1])
def test_B_meets_W_under_it_as_it_does_not_without(kind, decay):
    task = mlp()
    rule = create("kp", task)
    optimizer = optimizer_for(kind, task, rule, lr=2e-3, weight_decay=decay)
    assert bool(rule.check_optimizer(optimizer, 500)) == (not decay)
    train(rule, task, optimizer, steps=500)
    angles = [angle(rule.B[name], W) for name, W in task.net.named_parameters() if name in rule.names]
    assert max(angles) < 15 if decay else min(angles) > 20, angles


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.degrees(math.acos(F.cosine_similarity(a.detach().flatten(), b.detach().flatten(), 0)))


@pytest.mark.parametrize("kind", ["Adagrad", "Adadelta"])
def test_of_an_optimiser_with_a_rate_of_its_own_nothing_is_foretold(kind):
    task = mlp()
    rule = create("kp", task)
    (warning,) = rule.check_optimizer(optimizer_for(kind, task, rule, weight_decay=1.0), 10_000)
    assert kind in warning
    assert "only the feedback angle tells" in warning
    assert "AdamW or SGD" in warning


def test_momentum_sums_up_decay_too():
    """W − B shrinks as without momentum at 1 / (1 − momentum) times the rate."""
    task = mlp()
    rule = create("kp", task)
    optimizer = optimizer_for("SGD", task, rule, lr=1e-2, weight_decay=0.1, momentum=0.9)
    assert rule.check_optimizer(optimizer, 300) == []
    (warning,) = rule.check_optimizer(optimizer, 200)
    assert "= 2, and B needs about 3 to align" in warning
    start = differences(rule, task)
    train(rule, task, optimizer, 300)
    for name, difference in differences(rule, task).items():
        assert 0.03 < difference.norm() / start[name].norm() < 0.06


@pytest.mark.parametrize("kind", ["Adam", "NAdam", "RAdam"])
def test_the_decoupled_form_of_such_an_optimiser_needs_none(kind):
    task = mlp()
    rule = create("kp", task)
    try:
        optimizer = optimizer_for(kind, task, rule, lr=1e-2, weight_decay=1.0, decoupled_weight_decay=True)
    except TypeError:
        pytest.skip(f"PyTorch {torch.__version__} has no decoupled decay in {kind}")
    assert rule.check_optimizer(optimizer, 1000) == []
    start = differences(rule, task)
    train(rule, task, optimizer, 20)
    for name, difference in differences(rule, task).items():
        torch.testing.assert_close(difference, start[name] * 0.99**20, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["Adafactor", "ASGD"])
def test_an_optimiser_that_moves_W_and_B_apart_is_refused(kind):
    task = mlp()
    rule = create("kp", task)
    with pytest.raises(biograd.UserMistake, match=f"under {kind}.*AdamW or SGD") as caught:
        rule.check_optimizer(optimizer_for(kind, task, rule), 1000)
    assert "\n" not in str(caught.value)


def test_an_optimiser_without_the_rules_own_parameters_is_refused():
    task = mlp()
    rule = create("kp", task)
    with pytest.raises(biograd.UserMistake, match=r"\[\*net.parameters\(\), \*rule.parameters\(\)\]"):
        rule.check_optimizer(torch.optim.SGD(task.net.parameters(), lr=0.1), 100)
    with pytest.raises(biograd.UserMistake, match="give no feedback_optimizer") as caught:
        rule.check_optimizer(torch.optim.AdamW(task.net.parameters(), lr=0.1), 100)
    assert "\n" not in str(caught.value)


def test_under_accumulation_the_gradient_of_B_is_that_of_W():
    task, other = mlp(), mlp()
    rule = create("kp", task)
    for x, y in zip(task.x.split(2), task.y.split(2), strict=True):
        rule.assign_credit(task.net, x, y, F.cross_entropy)
    same = create("kp", other)
    summed: dict[str, Any] = {}
    for x, y in zip(other.x.split(2), other.y.split(2), strict=True):
        for name, gradient in gradients(same, Task(other.net, x, y)).items():
            summed[name] = gradient if name not in summed else summed[name] + gradient
    for name, W in task.net.named_parameters():
        torch.testing.assert_close(W.grad, summed[name], rtol=1e-12, atol=1e-14)
        if name in rule.names:
            torch.testing.assert_close(rule.B[name].grad, W.grad, rtol=1e-12, atol=1e-14)


def test_what_was_in_a_gradient_before_is_not_given_to_B():
    task = mlp()
    rule = create("kp", task)
    expected = gradients(rule, task)
    rule.zero_grad()
    for parameter in task.net.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    for name in rule.names:
        torch.testing.assert_close(rule.B[name].grad, expected[name], rtol=1e-9, atol=1e-12)


def test_the_gradients_of_W_and_B_share_no_memory_so_that_clipping_acts_once():
    task = mlp()
    rule = create("kp", task)
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    everything = [*task.net.parameters(), *rule.parameters()]
    places = [parameter.grad.untyped_storage().data_ptr() for parameter in everything]
    assert len(set(places)) == len(places)
    before = {name: W.grad.clone() for name, W in task.net.named_parameters()}
    norm = torch.nn.utils.clip_grad_norm_(everything, max_norm=1e-3)
    for name, W in task.net.named_parameters():
        torch.testing.assert_close(W.grad, before[name] * 1e-3 / (norm + 1e-6), rtol=1e-9, atol=0)
        if name in rule.names:
            assert torch.equal(rule.B[name].grad, W.grad)


def test_a_frozen_weight_leaves_its_B_untaught():
    task = mlp()
    task.net[2].requires_grad_(False)
    rule = create("kp", task)
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    assert rule.B["2.weight"].grad is None
    assert rule.B["4.weight"].grad is not None


def test_a_weight_that_took_no_part_leaves_its_B_untaught():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(5, 3), nn.Linear(5, 3)

        def forward(self, x):
            return self.used(x)

    net = Branches().double()
    rule = biograd.KolenPollack(net)
    rule.assign_credit(net, *mlp()[1:], F.cross_entropy)
    assert rule.B["unused.weight"].grad is None
    assert torch.equal(rule.B["used.weight"].grad, net.used.weight.grad)  # pyright: ignore[reportArgumentType]


def penalised(net: nn.Module, times: float = 0.1) -> Any:
    """Cross-entropy and λ‖W‖², which reads the weights."""

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output, y) + times * sum(p.square().sum() for p in net.parameters())

    return loss


@pytest.mark.parametrize("make", [mlp, convolutional])
def test_of_a_loss_that_reads_the_weights_B_gets_what_travelled_through_the_products_alone(make):
    task = make()
    task.net.eval()  # dropout would draw anew
    rule = create("kp", task)
    expected = gradients(rule, task)
    rule.zero_grad()
    rule.assign_credit(task.net, task.x, task.y, penalised(task.net))
    for name, W in task.net.named_parameters():
        torch.testing.assert_close(W.grad, expected[name] + 0.2 * W, rtol=1e-12, atol=1e-14)
        if name in rule.names:
            assert torch.equal(rule.B[name].grad, expected[name])


@pytest.mark.parametrize("in_the_loss", [False, True])
def test_decay_in_the_loss_acts_on_W_alone_so_that_the_two_do_not_meet_as_under_the_optimisers(in_the_loss):
    task, decay = mlp(), 0.1
    rule = create("kp", task)
    optimizer = optimizer_for("SGD", task, rule, lr=0.1, weight_decay=0.0 if in_the_loss else decay)
    loss_fn = penalised(task.net, decay / 2) if in_the_loss else F.cross_entropy
    for _ in range(700):
        optimizer.zero_grad()
        rule.assign_credit(task.net, task.x, task.y, loss_fn)
        optimizer.step()
    apart = [float(d.norm() / rule.B[name].detach().norm()) for name, d in differences(rule, task).items()]
    assert min(apart) > 0.1 if in_the_loss else max(apart) < 0.01, apart


@pytest.mark.parametrize("clears", [False, True])
def test_an_optimiser_that_steps_in_hooks_moves_B_as_one_that_steps_afterwards(clears):
    tasks = mlp(), mlp()
    rules = [create("kp", task) for task in tasks]
    waiting = optimizer_for("SGD", tasks[0], rules[0], lr=0.1, weight_decay=0.5, momentum=0.9)
    train(rules[0], tasks[0], waiting, steps=20)
    own = [*tasks[1].net.parameters(), *rules[1].parameters()]
    hasty = {p: torch.optim.SGD([p], lr=0.1, weight_decay=0.5, momentum=0.9) for p in own}

    def step(parameter: torch.Tensor) -> None:
        hasty[parameter].step()
        if clears:
            parameter.grad = None

    for parameter in own:
        parameter.register_post_accumulate_grad_hook(step)
    for _ in range(20):
        for optimizer in hasty.values():
            optimizer.zero_grad()
        rules[1].assign_credit(tasks[1].net, tasks[1].x, tasks[1].y, F.cross_entropy)
    for expected, got in zip([*tasks[0].net.parameters(), *rules[0].parameters()], own, strict=True):
        assert torch.equal(got, expected)


def test_hooks_that_clip_act_on_W_and_on_B_each():
    task, plain = mlp(), mlp()
    expected = gradients(create("kp", plain), plain)
    rule = create("kp", task)
    for W in task.net.parameters():
        W.register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    assert all(torch.equal(rule.B[name].grad, expected[name]) for name in rule.names)
    for B in rule.parameters():
        B.register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))
    task.net.zero_grad()
    rule.zero_grad()
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    weights = dict(task.net.named_parameters())
    assert all(torch.equal(rule.B[name].grad, weights[name].grad) for name in rule.names)


def test_a_frozen_B_carries_errors_and_learns_nothing():
    task = mlp()
    rule = create("kp", task)
    rule.B.requires_grad_(False)
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    assert all(B.grad is None for B in rule.parameters())
    assert all(W.grad is not None for W in task.net.parameters())


def test_with_decay_the_feedback_angle_closes_and_the_gradient_becomes_backpropagations():
    task = mlp()
    rule = create("kp", task)
    train(rule, task, optimizer_for("AdamW", task, rule, lr=5e-2, weight_decay=1.0), steps=700)
    assert_same(gradients(rule, task), gradients(biograd.Backpropagation(task.net), task), tolerance=1e-9)
