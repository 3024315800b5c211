"""The fast paths: every order of memory, oneDNN's products and new memory give the same numbers."""

import gc

import pytest
import torch

from biograd.layers import LocallyConnected2d, locally_connected2d
from biograd.layers.local import memory as local_memory
from biograd.layers.local import onednn, together
from tests.layers import plain
from tests.layers.plain import CASES

ORDERS = {
    "contiguous": lambda x: x.contiguous(),
    "channels last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "batch last": lambda x: x.movedim((1, 0), (-2, -1)).contiguous().movedim((-2, -1), (1, 0)),
    "sliced": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
    "expanded": lambda x: x[:1].expand_as(x),
}
ASKS = onednn.is_faster.__wrapped__  # asks at every call
needs_onednn = pytest.mark.skipif(not onednn.IS_AVAILABLE, reason="this PyTorch is built without oneDNN")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def onednn_calls(monkeypatch):
    """Use oneDNN for products of any size on any processor, and count them."""
    calls = []
    linear = onednn.linear
    monkeypatch.setattr(onednn, "LARGE", 0)
    monkeypatch.setattr(onednn, "is_faster", lambda: True)
    monkeypatch.setattr(onednn, "linear", lambda *a: calls.append(1) or linear(*a))
    return calls


def step(function, x, weight, bias, gradient, options):
    """Output and the three gradients, of parameters and input in the memory they come in."""
    inputs = [x.detach().requires_grad_(), weight.detach().requires_grad_(), bias.detach().requires_grad_()]
    y = function(*inputs, **options)
    return y, *torch.autograd.grad(y, inputs, gradient.to(y.dtype))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("gradient_order", ORDERS)
@pytest.mark.parametrize("size", [(7,), (7, 6), (3, 5, 3)])
def test_no_order_of_memory_changes_a_number(order, gradient_order, size):
    options = {"padding": 1, "stride": 2}
    case = plain.Case(size=size, kernel=(2, 3, 2)[: len(size)], options=options)
    x, weight, bias = case.draw()
    x = ORDERS[order](x)
    gradient = ORDERS[gradient_order](torch.randn(len(x), *bias.shape, dtype=x.dtype))
    expected = step(case.function, x.contiguous(), weight, bias, gradient.contiguous(), options)
    torch.testing.assert_close(step(case.function, x, weight, bias, gradient, options), expected)


@pytest.mark.parametrize("positions", [1, 2, 5, 8, 100])
@pytest.mark.parametrize(
    "name", ["strided", "dilated", "grouped", "overlapping", "one dimension", "in space"]
)
def test_however_many_positions_are_taken_at_once_the_numbers_are_the_same(name, positions, monkeypatch):
    others = {
        "overlapping": plain.Case(size=(5, 6)),
        "in space": plain.Case(size=(4, 3, 3), kernel=(2, 2, 2), options={"padding": (0, 1, 0)}),
    }
    case = CASES.get(name) or others[name]
    x, weight, bias = case.draw()
    a_patch = (
        weight[(0,) * len(case.size)][..., 0].numel()
        * case.options.get("groups", 1)
        * len(x)
        * x.element_size()
    )
    monkeypatch.setattr(together, "CACHE", positions * a_patch)
    inputs = [x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    found, expected = (by(*inputs, **case.options) for by in (case.function, plain.product))
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(y.square().sum(), inputs) for y in (found, expected)]
    torch.testing.assert_close(*gradients)


@needs_onednn
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("gradient_order", ORDERS)
@pytest.mark.parametrize(
    "name", ["plain", "strided", "same", "dilated", "one position", "one dimension", "three dimensions"]
)
def test_onednn_agrees_with_double_precision(name, order, gradient_order, onednn_calls):
    x, weight, bias = CASES[name].draw(torch.float32)
    x, options = ORDERS[order](x), CASES[name].options
    gradient = ORDERS[gradient_order](torch.randn(len(x), *bias.shape))
    found = step(CASES[name].function, x, weight, bias, gradient, options)
    assert len(onednn_calls) == 3 * bias[0].numel()  # three products a position
    doubles = (x.double(), weight.double(), bias.double())
    expected = step(CASES[name].function, *doubles, gradient, options)
    assert len(onednn_calls) == 3 * bias[0].numel()
    torch.testing.assert_close(found, tuple(t.float() for t in expected), rtol=1e-5, atol=1e-5)


@needs_onednn
@pytest.mark.parametrize("dim", range(6))
def test_onednn_takes_a_weight_in_any_memory_and_no_bias(dim, onednn_calls):
    x, weight, _ = CASES["padded"].draw(torch.float32)
    weight = weight.select(dim, 0).unsqueeze(dim).expand_as(weight).requires_grad_()
    y = locally_connected2d(x.requires_grad_(), weight, padding=(2, 1))
    expected = plain.product(x, weight, None, padding=(2, 1))
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    found, by_loop = (torch.autograd.grad(output.square().sum(), (x, weight)) for output in (y, expected))
    torch.testing.assert_close(found, by_loop, rtol=1e-4, atol=1e-4)
    assert onednn_calls


@needs_onednn
def test_groups_do_not_go_to_onednn(onednn_calls):
    x, weight, bias = CASES["grouped"].draw(torch.float32)
    expected = plain.product(x, weight, bias, groups=2)
    torch.testing.assert_close(locally_connected2d(x, weight, bias, groups=2), expected)
    assert not onednn_calls


@needs_onednn
def test_only_large_products_in_single_precision_go_to_onednn(monkeypatch, onednn_calls):
    monkeypatch.setattr(onednn, "LARGE", 4_000_000)
    calls = onednn_calls
    layer = LocallyConnected2d(64, 64, 5, (5, 5))  # 102,400 multiplications an example
    layer(torch.randn(39, 64, 5, 5))
    assert not calls
    layer(torch.randn(40, 64, 5, 5))
    assert len(calls) == 1
    layer.double()(torch.randn(40, 64, 5, 5, dtype=torch.float64))
    assert len(calls) == 1


@needs_onednn
@pytest.mark.parametrize(("vendor", "is_faster"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_onednn_is_for_processors_that_mkl_was_not_made_for(vendor, is_faster, monkeypatch, onednn_calls):
    monkeypatch.setattr(onednn, "is_faster", ASKS)
    monkeypatch.setattr(onednn, "_vendor", lambda: vendor)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    x, weight, bias = CASES["plain"].draw(torch.float32)
    torch.testing.assert_close(locally_connected2d(x, weight, bias), plain.product(x, weight, bias))
    assert bool(onednn_calls) == is_faster


def test_an_output_has_the_batch_last_and_a_chain_of_layers_keeps_it_there():
    x = torch.randn(3, 2, 5, 4)
    y = LocallyConnected2d(2, 4, 3, (5, 4), padding=1)(x)
    z = LocallyConnected2d(4, 2, 3, (5, 4), padding=1)(y.tanh())
    assert local_memory.is_batch_last(y)
    assert local_memory.is_batch_last(z)
    assert z.flatten(1).shape == (3, 40)


@pytest.mark.parametrize("order", ["contiguous", "batch last"])
def test_the_gradient_of_an_input_lies_as_the_input_does(order):
    x = ORDERS[order](torch.randn(3, 2, 5, 4)).requires_grad_()
    weight = torch.randn(5, 4, 3, 3, 2, 4)
    (gradient,) = torch.autograd.grad(locally_connected2d(x, weight, padding=1).sum(), x)
    assert gradient.stride() == x.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_memory_is_as_any_other_small_or_large(dtype):
    for rows in (3, local_memory.HUGE // 4):
        fresh = local_memory.empty((rows, 2), torch.empty(0, dtype=dtype))
        gc.collect()
        fresh.copy_(torch.tensor([1.0, 2.0]))
        assert (fresh.shape, fresh.dtype, fresh.stride()) == ((rows, 2), dtype, (2, 1))
        assert fresh.sum(0, dtype=torch.float64).tolist() == [rows, 2 * rows]


def test_a_gradient_on_huge_pages_is_kept_added_to_and_emptied():
    layer = LocallyConnected2d(16, 64, 5, (12, 12), padding=2)  # 14 MB
    assert layer.weight.numel() * 4 > local_memory.HUGE
    x = torch.randn(2, 16, 12, 12)
    layer(x).sum().backward()
    once = layer.weight.grad.clone()
    layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, 2 * once)
    layer.zero_grad(set_to_none=False)
    assert not layer.weight.grad.any()
