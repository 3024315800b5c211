"""A feedback path under autocast, torch.func, torch.compile and data-parallel training."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.credit import FeedbackPath, blocks, feedback_path
from biograd.credit.by_hand.remembered import Remembered
from tests.credit.nets import NETS, make
from tests.credit.taught import assert_same, plain_pass, random_feedback, same_as_weights, taught_pass

# PyTorch's compiler uses what PyTorch deprecates, and looks at gradients of what are no leaves.
quiet_compiler = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)

IMAGES = ["convolutional", "residual", "locally connected"]


@pytest.mark.parametrize("name", [*IMAGES, "mlp", "transposed", "transformer"])
def test_under_bfloat16_autocast_values_are_the_nets_and_B_equal_to_W_is_backpropagation(name):
    net, x = make(name, torch.float32)
    other = copy.deepcopy(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = plain_pass(other, x, lambda y: y.float().square().sum())
        taught = taught_pass(net, x, same_as_weights(net), loss=lambda y: y.float().square().sum())
    assert plain.output.dtype == taught.output.dtype == torch.bfloat16
    assert_same(taught, plain, tolerance=1e-6)
    assert all(gradient.dtype == torch.float32 for gradient in taught.gradients.values())


def test_under_autocast_the_error_goes_back_through_B_in_low_precision():
    torch.manual_seed(0)
    layer, x = nn.Linear(5, 4), torch.randn(3, 5)
    B = random_feedback(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        taught = taught_pass(layer, x, B, loss=lambda y: y.float().sum())
    expected = torch.ones(3, 4).bfloat16() @ B["weight"].bfloat16()
    torch.testing.assert_close(taught.input_gradient, expected.float(), rtol=0, atol=0)


@pytest.mark.filterwarnings(
    "ignore:There is a performance drop:UserWarning"
)  # attention has no batching rule
@pytest.mark.parametrize("name", NETS)
def test_gradients_of_single_examples_under_vmap_are_those_of_each_example_alone(name):
    net, x = make(name)
    net.eval()
    feedback = random_feedback(net)
    parameters = {key: parameter.detach() for key, parameter in net.named_parameters()}

    def loss(parameters, example):
        path = FeedbackPath({parameters[key]: B for key, B in feedback.items()})
        with path:
            output = torch.func.functional_call(net, parameters, example.unsqueeze(0))
        return output.square().sum()

    together = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    for index, example in enumerate(x):
        alone = taught_pass(net, example.unsqueeze(0), feedback).gradients
        for key, gradient in together.items():
            torch.testing.assert_close(gradient[index], alone[key], rtol=1e-10, atol=1e-10)


def step(rule, net, x, y):
    """Gradients of the net and of the rule after one call."""
    parameters = [*net.parameters(), *rule.parameters()]
    for parameter in parameters:
        parameter.grad = None
    loss, _ = rule.assign_credit(net, x, y, F.mse_loss)
    return [loss, *(parameter.grad for parameter in parameters)]


def assert_all_close(got, expected, tolerance=1e-5):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def small_net() -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(48, 6),
        nn.Tanh(),
        nn.Linear(6, 3),
    )
    return net, torch.randn(5, 2, 4, 4), torch.randn(5, 3)


@pytest.fixture
def counters():
    """What the compiler did in this test."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    yield counters
    torch._dynamo.reset()


@quiet_compiler
def test_a_net_compiled_and_run_before_is_still_taught_in_one_graph_and_plain_again_afterwards(counters):
    net, x, y = small_net()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    compiled(x)
    rule = biograd.FeedbackAlignment(compiled)
    expected = step(rule, net, x, y)
    for _ in range(3):  # as written, compiled, compiled before
        assert_all_close(step(rule, compiled, x, y), expected)
    backpropagation = biograd.Backpropagation(net)
    assert_all_close(step(backpropagation, compiled, x, y), step(backpropagation, net, x, y))


@quiet_compiler
@pytest.mark.parametrize("name", ["fa", "usf", "frsf", "brsf", "kp", "wm"])
def test_a_compiled_net_is_taught_as_the_plain_one_step_after_step_and_compiled_once(name, counters):
    if name == "wm" and torch.__version__ < "2.8":
        pytest.skip("older compilers cannot take a net and what listens to it into one graph")
    net, x, y = small_net()
    twin = copy.deepcopy(net)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    rules = [biograd.rules.create(name, net), biograd.rules.create(name, twin)]
    for _ in range(4):
        got, expected = step(rules[0], compiled, x, y), step(rules[1], twin, x, y)
        assert_all_close(got, expected)
        with torch.no_grad():
            for parameter in (p for module in (net, twin, *rules) for p in module.parameters()):
                parameter -= 0.1 * parameter.grad  # pyright: ignore[reportOptionalOperand, reportOperatorIssue]
    assert counters["stats"]["unique_graphs"] == 1
    for one, other in zip(rules[0].buffers(), rules[1].buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@quiet_compiler
def test_a_backend_that_hides_the_backward_is_named():
    net, x, y = (
        nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
        torch.randn(2, 4),
        torch.randn(2, 3),
    )
    rule, compiled = biograd.FeedbackAlignment(net), torch.compile(net, backend="eager")
    step(rule, compiled, x, y)
    with pytest.raises(biograd.UnsupportedNet, match="compiled by a backend that leaves the backward"):
        step(rule, compiled, x, y)


@quiet_compiler
def test_a_net_compiled_in_place_and_a_compiled_part_are_taught(counters):
    net, x, y = small_net()
    rule = biograd.FeedbackAlignment(net)
    expected = step(rule, net, x, y)
    compiled: Any = torch.compile(net[3], backend="aot_eager")
    part = nn.Sequential(*net[:3], compiled, *net[4:])
    for _ in range(2):
        assert_all_close(step(_renamed(rule, part), part, x, y), expected)
    net.compile(backend="aot_eager")
    for _ in range(2):
        assert_all_close(step(rule, net, x, y), expected)


def _renamed(rule, part):
    """The rule for a net whose parameters have other names."""
    other = biograd.FeedbackAlignment(part)
    for one, same in zip(other.buffers(), rule.buffers(), strict=True):
        one.copy_(same)
    return other


def test_an_attack_through_the_path_gets_the_rules_own_input_gradient():
    net, x = make("convolutional")
    net.eval()
    rule = biograd.FeedbackAlignment(net)
    leaf = x.clone().requires_grad_()
    with rule.path(net):
        output = net(leaf)
    (gradient,) = torch.autograd.grad(output.square().sum(), leaf)
    expected = taught_pass(net, x, rule.feedback_matrices(net)).input_gradient
    assert torch.equal(gradient, expected)


def test_a_backward_within_the_context_is_the_same_as_one_after_it():
    net, x = make("mlp")
    feedback = random_feedback(net)
    expected = taught_pass(net, x, feedback).gradients
    with feedback_path(net, feedback):
        net(x).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter.grad, expected[name])


@quiet_compiler
def test_a_compiled_training_step_is_taught_after_one_call_as_it_is_and_says_so_before(counters):
    net, x, y = small_net()
    rule = biograd.FeedbackAlignment(net)
    compiled = torch.compile(lambda: rule.assign_credit(net, x, y, F.mse_loss), backend="aot_eager")
    with pytest.raises(biograd.UnsupportedNet, match="call assign_credit once before compiling"):
        compiled()
    expected = step(rule, net, x, y)
    net.zero_grad()
    loss, _ = compiled()
    assert_all_close([loss, *(parameter.grad for parameter in net.parameters())], expected)


def mlp():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    return net, torch.randn(2, 4), torch.randn(2, 3)


@quiet_compiler
@pytest.mark.parametrize("name", ["fa", "dtp"])
def test_a_compiled_step_teaches_a_chain_as_by_hand_and_is_compiled_once(name, counters):
    net, x, y = mlp()
    rule = biograd.rules.create(name, net)
    step(rule, net, x, y)
    twin, compiled, graphs = copy.deepcopy(rule), torch.compile(step, backend="aot_eager"), []
    for _ in range(3):
        assert_all_close(compiled(rule, net, x, y), step(twin, mlp()[0], x, y))
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[1] == graphs[2]


def test_a_compiler_binds_nothing_to_the_nets_that_are_remembered(counters):
    net, x, _ = mlp()
    remembered = Remembered()
    remembered.keep(net, blocks(net))
    assert remembered.of(net, x) is not None
    assert torch.compile(lambda: remembered.of(net, x) is None, backend="eager", fullgraph=True)()
