import torch
from torch import nn

from biograd.credit.chain.ledger import delivery


def parameters():
    return nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))


def test_gradients_are_added_to_what_is_there():
    a, b = parameters()
    a.grad = torch.ones(3)
    delivery({a: torch.full((3,), 2.0), b: torch.ones(2, 2)}).backward()
    assert a.grad.tolist() == [3.0] * 3
    assert torch.equal(b.grad, torch.ones(2, 2))


def test_hooks_see_every_parameter_once():
    a, b = parameters()
    seen = []
    for parameter in (a, b):
        parameter.register_post_accumulate_grad_hook(lambda p: seen.append(p))
    gradients = {a: torch.ones(3), b: torch.ones(2, 2)}
    delivery(gradients).backward()
    assert sorted(map(id, seen)) == sorted(map(id, (a, b)))


def test_memory_is_handed_over_without_a_copy():
    a, _ = parameters()
    gradients = {a: torch.ones(3)}
    place = gradients[a].data_ptr()
    delivery(gradients).backward()
    assert gradients == {}
    assert a.grad.data_ptr() == place


def test_it_joins_other_roots_in_one_backward():
    a, b = parameters()
    root = delivery({a: torch.ones(3)})
    torch.autograd.backward([root, (a * 2).sum() + b.sum()])
    assert a.grad.tolist() == [3.0] * 3


def test_frozen_parameters_are_left_out():
    a, b = parameters()
    a.requires_grad_(False)
    delivery({a: torch.ones(3), b: torch.ones(2, 2)}).backward()
    assert a.grad is None
    assert delivery({a: torch.ones(3)}) is None


def test_it_works_where_gradients_are_off():
    a, _ = parameters()
    with torch.no_grad():
        root = delivery({a: torch.ones(3)})
    root.backward()
    assert a.grad.tolist() == [1.0] * 3
