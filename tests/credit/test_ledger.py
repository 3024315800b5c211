import pytest
import torch
from torch import nn

from biograd.credit.chain.ledger import Ledger, Root


def parameters():
    return nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))


def test_gradients_are_added_to_what_is_there():
    (a, b), ledger = parameters(), Ledger()
    a.grad = torch.ones(3)
    ledger.add_gradients([a, b], [torch.full((3,), 2.0), torch.ones(2, 2)])
    ledger.settle()
    assert a.grad.tolist() == [3.0] * 3
    assert torch.equal(b.grad, torch.ones(2, 2))


def test_gradients_of_a_parameter_that_blocks_share_add_up():
    (a, b), ledger = parameters(), Ledger()
    ledger.add_gradients([a, b], [torch.ones(3), None])
    ledger.add_gradients([a], [torch.full((3,), 2.0)])
    ledger.settle()
    assert a.grad.tolist() == [3.0] * 3
    assert b.grad is None


@pytest.mark.parametrize("are_new", [True, False])
def test_gradients_add_up_in_memory_that_is_nobody_elses_and_in_no_other(are_new):
    (a, _), ledger, first = parameters(), Ledger(), torch.ones(3)
    for gradient in (first, torch.ones(3), torch.ones(3)):
        ledger.add_gradients([a], [gradient], are_new=are_new)
    ledger.settle()
    assert a.grad.tolist() == [3.0] * 3
    assert first.tolist() == [3.0 if are_new else 1.0] * 3


def test_hooks_see_every_parameter_once():
    (a, b), ledger = parameters(), Ledger()
    seen = []
    for parameter in (a, b):
        parameter.register_post_accumulate_grad_hook(lambda p: seen.append(p))
    ledger.add_gradients([a, b], [torch.ones(3), torch.ones(2, 2)])
    ledger.add(2 * a, torch.ones(3))
    ledger.settle()
    assert sorted(map(id, seen)) == sorted(map(id, (a, b)))


def test_memory_is_handed_over_without_a_copy():
    (a, _), ledger = parameters(), Ledger()
    gradient = torch.ones(3)
    place = gradient.data_ptr()
    ledger.add_gradients([a], [gradient])
    del gradient
    ledger.settle()
    assert a.grad.data_ptr() == place


def test_it_joins_roots_and_gradients_in_one_backward():
    (a, b), ledger = parameters(), Ledger()
    ledger.add_gradients([a], [torch.ones(3)])
    ledger.extend([((a * 2), torch.ones(3)), (b.sum(), torch.ones(()))])
    ledger.settle()
    assert a.grad.tolist() == [3.0] * 3
    assert torch.equal(b.grad, torch.ones(2, 2))


def test_what_has_no_derivative_or_no_graph_teaches_nothing():
    (a, b), ledger = parameters(), Ledger()
    ledger.extend([(2 * a, None), (None, torch.ones(3)), (torch.ones(3), torch.ones(3))])
    ledger.settle()
    assert a.grad is b.grad is None


def test_frozen_parameters_are_left_out():
    (a, b), ledger = parameters(), Ledger()
    a.requires_grad_(False)
    ledger.add_gradients([a, b], [torch.ones(3), torch.ones(2, 2)])
    ledger.settle()
    assert a.grad is None
    assert torch.equal(b.grad, torch.ones(2, 2))


def test_a_settled_ledger_is_empty():
    (a, _), ledger = parameters(), Ledger()
    ledger.add(2 * a, torch.ones(3))
    ledger.add_gradients([a], [torch.ones(3)])
    ledger.settle()
    ledger.settle()
    assert a.grad.tolist() == [3.0] * 3


def test_it_works_where_gradients_are_off():
    (a, _), ledger = parameters(), Ledger()
    with torch.no_grad():
        ledger.add_gradients([a], [torch.ones(3)])
        ledger.settle()
    assert a.grad.tolist() == [1.0] * 3


def test_a_root_that_is_alone_is_taught_at_once_and_its_hooks_see_it_when_it_is_handed_over():
    (a, b), ledger = parameters(), Ledger()
    seen = []
    a.register_hook(lambda gradient: seen.append(gradient.clone()))
    ledger.extend(
        Root(*root, is_alone=True) for root in [(a * torch.arange(3.0), torch.ones(3)), (b, torch.ones(2, 2))]
    )
    ledger.extend([Root(a * 2, torch.ones(3))])
    assert seen == []
    ledger.settle()
    assert a.grad.tolist() == [2.0, 3.0, 4.0]
    assert torch.equal(b.grad, torch.ones(2, 2))
    assert len(seen) == 1


def test_a_generator_of_roots_is_closed_where_one_cannot_be_taught():
    (a, _), ledger = parameters(), Ledger()
    closed = []

    def roots():
        try:
            yield Root(a * 2, torch.ones(4), is_alone=True)
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError) as caught:
        ledger.extend(roots())
    assert closed == [True]
    assert caught.tb is not None  # though the frames are held still
