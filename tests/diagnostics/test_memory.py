from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import rules
from biograd.diagnostics import step_memory
from biograd.diagnostics.memory import memory_of

BATCH, FLOAT = 10, 4
LOSS = BATCH * 8 * FLOAT + 2 * FLOAT  # its derivative, the loss and the total weight of the classes


def chain(hidden=(32,)):
    torch.manual_seed(0)
    widths = (16, *hidden)
    layers = [layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), nn.Tanh())]
    net = nn.Sequential(*layers, nn.Linear(widths[-1], 8))
    return net, torch.randn(BATCH, 16), torch.randint(8, (BATCH,))


def gradients_of(net):
    return lambda: [parameter.grad for parameter in net.parameters()]


def measured(net, step):
    net.zero_grad()
    return memory_of(step, gradients_of(net))


@pytest.mark.parametrize("hidden", [(32,), (32, 32, 32)])
def test_backpropagation_keeps_each_hidden_activation_once_and_one_signal_and_nothing_that_was_there_before(
    hidden,
):
    net, x, y = chain(hidden)
    memory = measured(net, lambda: F.cross_entropy(net(x), y).backward())
    assert memory.kept == BATCH * (sum(hidden) + 32) * FLOAT + LOSS


def test_the_peak_counts_what_is_alive_but_not_the_gradients_that_are_left():
    net, x, y = chain()
    few = x[:2].clone(), y[:2].clone()
    memory = measured(net, lambda: F.cross_entropy(net(few[0]), few[1]).backward())
    hidden, logits = 2 * 32 * FLOAT, 2 * 8 * FLOAT
    assert memory.kept < memory.peak <= 3 * hidden + 3 * logits
    weights = sum(p.numel() for p in net.parameters()) * FLOAT
    net.zero_grad()
    assert (
        memory_of(lambda: F.cross_entropy(net(few[0]), few[1]).backward(), list).peak > weights > memory.peak
    )


def test_a_second_kept_forward_is_kept_too():
    net, x, y = chain()
    once = measured(net, lambda: F.cross_entropy(net(x), y).backward())

    def twice():
        losses = [F.cross_entropy(net(x), y) for _ in range(2)]
        sum(losses).backward()

    assert measured(net, twice).kept >= once.kept + BATCH * 32 * FLOAT


def test_what_is_released_before_the_next_forward_is_not_added_up():
    net, x, y = chain()
    once = measured(net, lambda: F.cross_entropy(net(x), y).backward())

    def in_turn():
        for _ in range(3):
            F.cross_entropy(net(x), y).backward()

    memory = measured(net, in_turn)
    assert memory.kept == once.kept
    assert memory.peak >= once.peak


def test_what_autograd_has_released_and_someone_else_holds_is_kept():
    net, x, _ = chain()
    held = []

    def step():
        held.append(net[1](net[0](x)))
        held[-1].sum().backward()

    once = measured(net, step).kept
    assert measured(net, lambda: [step(), net.zero_grad(), step()]).kept == once + BATCH * 32 * FLOAT


def test_one_block_at_a_time_keeps_one_block():
    net, x, _ = chain((32, 32, 32))

    def block_by_block(count):
        h = x
        for linear, tanh in ((net[0], net[1]), (net[2], net[3]), (net[4], net[5]))[:count]:
            h = tanh(linear(h.detach()))
            h.sum().backward()

    kept = [measured(net, lambda count=count: block_by_block(count)).kept for count in (2, 3)]
    assert kept[0] == kept[1] < 4 * BATCH * 32 * FLOAT


def test_tensors_held_outside_autograd_show_in_the_peak():
    x = torch.randn(100)
    held = []

    def hold():
        held.extend(x + i for i in range(5))

    assert memory_of(hold, list).peak == 5 * 100 * FLOAT
    held.clear()
    assert memory_of(hold, list).kept == 0  # no gradient was made


def test_views_and_in_place_results_are_counted_once():
    x = torch.randn(100)

    def step():
        a = x * 2
        a.view(10, 10).t()[2:].add_(1)
        x.neg_()

    assert memory_of(step, list).peak == 100 * FLOAT


def test_gradients_are_those_of_an_unwatched_step():
    net, x, y = chain((32, 16))
    measured(net, lambda: F.cross_entropy(net(x), y).backward())
    watched = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    F.cross_entropy(net(x), y).backward()
    assert all(
        torch.equal(parameter.grad, seen) for parameter, seen in zip(net.parameters(), watched, strict=True)
    )


def test_a_local_rule_keeps_one_block_however_deep_the_net():
    def kept(hidden):
        net, x, y = chain(hidden)
        rule = rules.create("stdp-association", net)
        rule.assign_credit(net, x, y, F.cross_entropy)  # the first call looks
        return measured(net, lambda: rule.assign_credit(net, x, y, F.cross_entropy)).kept

    assert kept((32, 32)) == kept((32, 32, 32, 32)) < 4 * BATCH * 32 * FLOAT


@pytest.mark.parametrize("name", ["dtp", "sdtp", "ao-sdtp", "drl", "l-drl", "ddtp-linear"])
def test_decoders_are_taught_one_behind_the_other_and_let_go(name):
    def kept(depth):
        net, x, y = chain((32,) * depth)
        settings = {"auxiliary": 8} if name == "ao-sdtp" else {}
        rule = rules.create(name, net, sample=x[:1], **settings)
        rule.assign_credit(net, x, y, F.cross_entropy)
        return measured(net, lambda: rule.assign_credit(net, x, y, F.cross_entropy)).kept

    assert (
        kept(6) - kept(4) <= 2 * BATCH * 32 * FLOAT + 64
    )  # the activations of two layers more, and nothing else


@pytest.mark.parametrize("name", ["bp", "fa", "stdp-association", "dtp"])
def test_a_step_of_a_rule_is_measured_as_a_loop_would_take_it_and_leaves_no_trace(name):
    net, x, y = chain((32, 32))
    rule = rules.create(name, net, sample=x[:1])
    before = {key: value.clone() for key, value in rule.state_dict().items()}
    state = torch.get_rng_state()
    found = step_memory(net, rule, x, y, F.cross_entropy)
    assert found == step_memory(net, rule, x, y, F.cross_entropy)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in (*net.parameters(), *rule.parameters()))
    assert all(torch.equal(value, before[key]) for key, value in rule.state_dict().items())
    for _ in range(2):
        for parameter in (*net.parameters(), *rule.parameters()):
            parameter.grad = None
        looped = memory_of(
            lambda: rule.assign_credit(net, x, y, F.cross_entropy),
            lambda: [parameter.grad for parameter in (*net.parameters(), *rule.parameters())],
        )
    assert found == looped
    assert 0 < found.kept <= found.peak
