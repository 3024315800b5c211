"""A feedback path leaves nothing behind and keeps no more than backpropagation does."""

import copy
import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import _get_current_function_mode_stack as mode_stack

import biograd
from biograd.credit import feedback_path
from biograd.credit.graph import leaves_read, nodes_below
from tests.credit.nets import NETS, make
from tests.credit.taught import plain_pass, random_feedback, same_as_weights, taught_pass

FEEDBACK_RULES = ["fa", "usf", "brsf", "frsf", "kp", "wm"]


class Breaks(nn.Module):
    """Fails in the middle of its forward."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        self.first(x)
        raise ArithmeticError("in the middle")


def everything_on(net):
    """All that hangs on the modules of a net: attributes, hooks, tensors by identity."""
    return [
        (
            name,
            type(module),
            {key: id(value) for key, value in vars(module).items() if not isinstance(value, dict)},
            {key: dict(value) for key, value in vars(module).items() if isinstance(value, dict)},
        )
        for name, module in net.named_modules()
    ]


@pytest.mark.parametrize("name", NETS)
def test_no_hook_attribute_or_changed_parameter_stays_on_the_net(name):
    net, x = make(name)
    net.eval()
    before, values = everything_on(net), copy.deepcopy(net.state_dict())
    taught_pass(net, x, random_feedback(net))
    assert everything_on(net) == before
    for key, value in net.state_dict().items():
        assert torch.equal(value, values[key]), key


@pytest.mark.parametrize("rule_name", FEEDBACK_RULES)
def test_an_exception_within_the_forward_leaves_net_and_mode_stack_as_they_were(rule_name):
    net = Breaks()
    rule = biograd.rules.create(rule_name, net)
    before = everything_on(net)
    with pytest.raises(ArithmeticError, match="in the middle"):
        rule.assign_credit(net, torch.randn(2, 5), torch.randn(2, 3), F.mse_loss)
    assert mode_stack() == []
    assert everything_on(net) == before
    assert all(parameter.grad is None for parameter in (*net.parameters(), *rule.parameters()))


def test_an_exception_in_the_loss_leaves_the_mode_stack_clean():
    net, x = make("mlp")
    rule = biograd.FeedbackAlignment(net)

    def loss_fn(output, y):
        raise ArithmeticError("in the loss")

    with pytest.raises(ArithmeticError):
        rule.assign_credit(net, x, x, loss_fn)
    assert mode_stack() == []


def test_a_refusal_leaves_the_mode_stack_clean_and_the_next_net_is_taught():
    net, x = make("mlp")
    with pytest.raises(biograd.UnsupportedNet), feedback_path(net, same_as_weights(net)):
        torch.inner(net(x), net[4].weight.t())
    assert mode_stack() == []
    biograd.FeedbackAlignment(net).assign_credit(net, x, torch.zeros(4, 3).double(), F.mse_loss)
    assert mode_stack() == []


@pytest.mark.parametrize("rule_name", FEEDBACK_RULES)
def test_no_activation_or_graph_outlives_the_step(rule_name):
    net, x = make("convolutional", torch.float32)
    rule = biograd.rules.create(rule_name, net)
    alive = []
    for module in net:
        module.register_forward_hook(lambda module, args, output: alive.append(weakref.ref(output)))
    credit = rule.assign_credit(net, x, torch.randn(4, 3), F.mse_loss)
    gc.collect()
    assert len(alive) == len(net)
    assert all(output() is None for output in alive)
    for tensor in (*credit, *rule.buffers(), *rule.parameters()):
        assert tensor.grad_fn is None
    for parameter in (*net.parameters(), *rule.parameters()):
        assert parameter.grad.grad_fn is None
        assert not parameter.grad.requires_grad


def saved_bytes(run, x, weights):
    """Bytes kept for the backward, without input and weights."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (x, *weights)}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = run(x)
    total = sum(kept.values())
    del output  # until here: memory that is freed could be taken, and counted, again
    return total


def frozen_in_the_middle():
    """Nothing but the frozen layer itself could keep its input."""
    net = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 7), nn.Linear(7, 3)).double()
    net[1].requires_grad_(False)
    return net, torch.randn(4, 5, dtype=torch.float64)


@pytest.mark.parametrize("name", [*NETS, "frozen in the middle"])
def test_no_more_activations_are_kept_than_by_backpropagation(name):
    net, x = frozen_in_the_middle() if name == "frozen in the middle" else make(name)
    feedback = random_feedback(net)
    weights = [*net.parameters(), *net.buffers(), *feedback.values()]

    def taught(x):
        with feedback_path(net, feedback):
            return net(x)

    plain = saved_bytes(net, x, weights)
    assert 0 < saved_bytes(taught, x, weights) <= plain


def test_values_of_the_feedback_are_read_at_the_call_and_not_changed():
    net, x = make("mlp")
    feedback = random_feedback(net)
    before = copy.deepcopy(feedback)
    taught_pass(net, x, feedback)
    assert all(torch.equal(feedback[name], B) for name, B in before.items())
    assert all(not B.requires_grad and B.grad is None for B in feedback.values())


def test_the_graph_does_not_reach_a_feedback_weight_that_is_learned():
    net, x = make("mlp")
    learned = {name: nn.Parameter(B) for name, B in random_feedback(net).items()}
    with feedback_path(net, {name: 2 * B for name, B in learned.items()}):
        output = net(x)
    reached = {id(leaf) for node in nodes_below(output) for leaf in leaves_read(node)}
    assert {id(parameter) for parameter in net.parameters()} <= reached
    assert reached.isdisjoint(id(B) for B in learned.values())


def test_a_weight_changed_in_place_between_forward_and_backward_is_an_error_as_in_backpropagation():
    net, x = make("mlp")
    rule = biograd.UniformSignConcordant(net)
    with rule.path(net):
        output = net(x)
    with torch.no_grad():
        net[2].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_plain_backpropagation_is_exact_again_after_a_path():
    net, x = make("convolutional")
    net.eval()
    before = plain_pass(net, x)
    taught_pass(net, x, random_feedback(net))
    after = plain_pass(net, x)
    for name, gradient in before.gradients.items():
        assert torch.equal(gradient, after.gradients[name])
