"""Gradients reach ``.grad`` without a backward where that would do no more, and whoever listens hears each once."""

import pytest
import torch
from torch import nn

from biograd.credit.chain.ledger import Ledger


def weight(*, channels_last=False):
    kept = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    return nn.Parameter(kept.to(memory_format=torch.channels_last) if channels_last else kept)


def settled(parameters, gradients):
    ledger = Ledger()
    ledger.add_gradients(parameters, gradients)
    del gradients
    ledger.settle()


def ones_like(parameter):
    return torch.ones_like(parameter.detach())


@pytest.fixture
def backwards(monkeypatch):
    """How many run."""
    ran, plain = [], torch.autograd.backward
    monkeypatch.setattr(
        torch.autograd, "backward", lambda *args, **how: ran.append(args) or plain(*args, **how)
    )
    return ran


@pytest.mark.parametrize("channels_last", [False, True])
def test_no_backward_runs_where_nobody_listens(backwards, channels_last):
    a, b = weight(channels_last=channels_last), weight()
    settled([a, b], [ones_like(a), 2 * ones_like(b)])
    assert backwards == []
    assert (a.grad == 1).all()
    assert (b.grad == 2).all()
    assert a.grad.stride() == a.stride()


def on_the_tensor(parameter, hear):
    parameter.register_hook(hear)


def behind_the_gradient(parameter, hear):
    parameter.register_post_accumulate_grad_hook(lambda p: hear(p.grad))


def on_several(parameter, hear):
    return torch.autograd.graph.register_multi_grad_hook([parameter], lambda gradients: hear(gradients[0]))


def on_the_node(parameter, hear):
    node = parameter.expand_as(parameter).grad_fn.next_functions[0][0]
    node.register_prehook(lambda gradients: hear(gradients[0]))
    return node


def on_the_node_that_a_graph_holds(parameter, hear):
    graph = parameter.expand_as(parameter)
    graph.grad_fn.next_functions[0][0].register_prehook(lambda gradients: hear(gradients[0]))
    return graph


LISTENERS = [on_the_tensor, behind_the_gradient, on_several, on_the_node, on_the_node_that_a_graph_holds]


@pytest.mark.parametrize("of_a_graph", [0, 2])
@pytest.mark.parametrize("listen", LISTENERS)
def test_whoever_listens_hears_a_gradient_once_and_whole(listen, of_a_graph):
    a, b, heard = weight(), weight(), []
    held = listen(a, lambda gradient: heard.append(gradient.sum().item()))
    ledger = Ledger()
    ledger.add_gradients([a, b], [ones_like(a), ones_like(b)])
    if of_a_graph:
        ledger.add((of_a_graph * a).sum(), torch.ones((), dtype=torch.float64))
    ledger.settle()
    assert heard == [(1 + of_a_graph) * a.numel()]
    assert (a.grad == 1 + of_a_graph).all()
    assert (b.grad == 1).all()
    del held


def test_a_gradient_that_somebody_holds_keeps_its_memory():
    a, held = weight(), ones_like(weight())
    settled([a], [held])
    held.zero_()
    assert (a.grad == 1).all()


def test_a_gradient_that_a_graph_holds_keeps_its_memory():
    a, b, ledger = weight(), weight(), Ledger()
    gradient = ones_like(a)
    graph = (b * gradient).sum()
    ledger.add_gradients([a], [gradient])
    del gradient
    ledger.settle()
    a.grad.zero_()
    graph.backward()
    assert (b.grad == 1).all()


def test_two_parameters_with_one_gradient_have_each_its_own():
    a, b = weight(), weight()
    settled([a, b], [ones_like(a)] * 2)
    a.grad.zero_()
    assert (b.grad == 1).all()


OTHERWISE = {
    "in another layout": lambda a: ones_like(a).to(memory_format=torch.channels_last),
    "of another type": lambda a: ones_like(a).float(),
    "of several rows, which are summed": lambda a: torch.full((4, 3), 0.25, dtype=a.dtype),
    "with a graph": lambda a: ones_like(a).requires_grad_() * 1,
}


@pytest.mark.parametrize("how", OTHERWISE)
def test_a_gradient_that_lies_otherwise_than_its_parameter_becomes_what_a_backward_makes_of_it(how):
    a = nn.Parameter(torch.zeros(1, 3, dtype=torch.float64)) if "rows" in how else weight()
    settled([a], [OTHERWISE[how](a)])
    torch.testing.assert_close(a.grad, ones_like(a))
    assert (a.grad.stride(), a.grad.requires_grad) == (a.stride(), False)


def test_what_lies_in_grad_stays_where_it_is_and_grows():
    a = weight()
    a.grad = before = ones_like(a)
    settled([a], [ones_like(a)])
    assert a.grad is before
    assert (a.grad == 2).all()


def test_anomalies_are_told():
    a = weight()
    with (
        pytest.warns(UserWarning, match="Anomaly Detection|Error detected in"),
        torch.autograd.detect_anomaly(),
        pytest.raises(RuntimeError, match="nan values"),
    ):
        settled([a], [ones_like(a) * float("nan")])


def test_nothing_is_handed_over_within_a_transform():
    a = weight()

    def settle(gradient):
        settled([a], [gradient * 2])
        return gradient

    with pytest.raises(RuntimeError, match="functorch transform"):
        torch.vmap(settle)(torch.ones(2, *a.shape, dtype=a.dtype))
    assert a.grad is None
