"""Defects found in BioTorch, the library that came before: each has a test that it is not here.

Its checkpoints without optimiser and its metrics in ``except BaseException: pass`` concern training and are tested
there.
"""

import copy
import math

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.diagnostics import angle
from tests.rules.small import ALL_RULES, FEEDBACK_RULES, Task, convolutional, create, gradients, mlp


@pytest.mark.parametrize("name", ALL_RULES)
def test_an_optimiser_made_before_the_rule_still_trains_the_net(name):
    """Rescaled weights orphan the optimiser's parameter: training silently stops."""
    task = mlp()
    optimizer = torch.optim.SGD(task.net.parameters(), lr=0.5)
    before = [parameter.detach().clone() for parameter in task.net.parameters()]
    rule = create(name, task)
    if name == "kp":  # its B is to learn too
        optimizer.add_param_group({"params": list(rule.parameters())})
    for _ in range(3):
        optimizer.zero_grad()
        rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
        optimizer.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, task.net.parameters(), strict=True)]
    assert moved == ([False] * 4 + [True] * 2 if name == "shallow" else [True] * 6)


@pytest.mark.parametrize("name", ALL_RULES)
def test_making_and_using_a_rule_leaves_the_net_the_very_same_object_with_the_same_values(name):
    """Converting mutates the user's model and recreates parameters at every forward: data parallelism and the
    identity of parameters break."""
    task = convolutional()
    task.net.eval()
    modules = [(name, id(module), type(module)) for name, module in task.net.named_modules()]
    parameters = [(name, id(p), p.untyped_storage().data_ptr()) for name, p in task.net.named_parameters()]
    values, output = copy.deepcopy(task.net.state_dict()), task.net(task.x)
    rule = create(name, task)
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    assert modules == [(name, id(module), type(module)) for name, module in task.net.named_modules()]
    assert parameters == [
        (name, id(p), p.untyped_storage().data_ptr()) for name, p in task.net.named_parameters()
    ]
    assert all(torch.equal(value, values[key]) for key, value in task.net.state_dict().items())
    assert torch.equal(task.net(task.x), output)


@pytest.mark.parametrize("name", FEEDBACK_RULES)
def test_the_input_gradient_in_evaluation_mode_is_that_of_the_input_shown_now(name):
    """In evaluation mode the gradient of the input is that of the last training batch, so that attacks on it mean
    nothing."""
    task = convolutional()
    rule = create(name, task)
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)  # a training batch
    task.net.eval()
    shown = torch.randn(2, *task.x.shape[1:], dtype=torch.float64)

    def input_gradient(x):
        x = x.clone().requires_grad_()
        with rule.path(task.net):
            output = task.net(x)
        return torch.autograd.grad(output.sum(), x)[0]

    together = input_gradient(shown)
    for index in (0, 1):
        alone = input_gradient(shown[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(together[0], together[1], rtol=1e-2)


@pytest.mark.parametrize("name", ["usf", "frsf", "brsf"])
def test_the_matrix_that_angles_are_measured_against_carries_the_signs_of_the_weights(name):
    """The frSF angle is computed against the unsigned matrix."""
    torch.manual_seed(0)
    net = nn.Linear(60, 50)
    B = biograd.rules.create(name, net).feedback_matrices(net)["weight"]
    assert torch.equal(B.sign(), net.weight.detach().sign())
    # The cosine of uniform W with sign(W)·m, m constant (√3/2) or drawn as W is (3/4).
    expected = math.degrees(math.acos(math.sqrt(3) / 2 if name == "usf" else 3 / 4))
    assert float(angle(B, net.weight.detach())) == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize(
    "initialise", [nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.xavier_normal_]
)
def test_brsf_follows_any_initialisation(initialise, distribution):
    """brSF with Kaiming initialisation raises NameError."""
    task = convolutional()
    for module in task.net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            initialise(module.weight)
    rule = create("brsf", task, distribution=distribution)
    assert all(gradient.isfinite().all() for gradient in gradients(rule, task).values())
    for name, B in rule.feedback_matrices(task.net).items():
        W = task.net.state_dict()[name]
        assert float(B.square().mean().sqrt()) == pytest.approx(float(W.square().mean().sqrt()), rel=0.5)


class Skip(nn.Module):
    """A residual unit."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tanh(self.layer(x))


def test_direct_feedback_does_not_leak_through_skip_connections():
    """DFA leaks through skip connections: lower layers learn from backpropagated errors."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), Skip(), Skip(), nn.Linear(5, 3)).double()
    task = Task(net, torch.randn(6, 5, dtype=torch.float64), torch.randint(3, (6,)))
    rule = biograd.DirectFeedbackAlignment(net)
    rule.direct.blocks[0].B.zero_()
    taught = gradients(rule, task)
    assert torch.count_nonzero(taught["0.weight"]) == 0
    assert torch.count_nonzero(taught["2.layer.weight"]) > 0


LAYERS = {
    "padding_mode": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), (2, 4, 5, 5)),
    "padding='same'": (lambda: nn.Conv2d(4, 4, 3, padding="same"), (2, 4, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4), (2, 4, 5, 5)),
    "linear on three dimensions": (lambda: nn.Linear(4, 4), (2, 5, 4)),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", FEEDBACK_RULES)
def test_layers_that_used_to_fail_or_to_be_another_layer_are_taught_as_they_are(name, kind):
    """padding_mode is ignored, ``padding="same"`` and depthwise convolutions fail, FA's linear layer rejects inputs of
    three dimensions."""
    factory, shape = LAYERS[kind]
    torch.manual_seed(0)
    net, x = nn.Sequential(factory(), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)), torch.randn(shape)
    expected = net(x)
    rule = biograd.rules.create(name, net)
    credit = rule.assign_credit(net, x, torch.tensor([0, 1]), F.cross_entropy)
    assert torch.equal(credit.output, expected.detach())
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


@pytest.mark.parametrize("name", ALL_RULES)
def test_every_rule_works_under_autocast(name):
    """Autocast fails."""
    task = convolutional(torch.float32)
    task.net.eval()
    rule = create(name, task)
    exact = gradients(copy.deepcopy(rule), task)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = gradients(rule, task)
    for key, gradient in exact.items():
        if gradient is None:
            assert low[key] is None
        else:
            assert low[key].dtype == torch.float32
            assert float(angle(low[key], gradient)) < 5, key


@pytest.mark.parametrize("name", ALL_RULES)
def test_a_rules_state_is_tensors_alone_and_goes_through_safetensors(name, tmp_path):
    """Checkpoints are pickles of the whole model."""
    task = mlp()
    rule = create(name, task)
    gradients(rule, task)
    state = rule.state_dict()
    if state:
        safetensors.torch.save_file(state, tmp_path / "rule.safetensors")
        state = safetensors.torch.load_file(tmp_path / "rule.safetensors")
    other = create(name, task)
    other.load_state_dict(state)
    one, two = gradients(rule, task), gradients(other, task)
    assert all(one[key] is two[key] is None or torch.equal(one[key], two[key]) for key in one)
