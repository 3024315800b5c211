"""Products with a matrix that stands in no layer, on either side, whole, in parts and transposed."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import biograd
from tests.credit.taught import assert_same, plain_pass, random_feedback, same_as_weights, taught_pass

Use = Callable[[Any, Tensor], Tensor]


class Multiplies(nn.Module):
    """A layer below, a use of matrices, a layer above."""

    def __init__(self, use: Use) -> None:
        super().__init__()
        self.below, self.above, self.use = nn.Linear(4, 4), nn.Linear(4, 3), use
        self.W, self.b = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4))
        self.long, self.heads = nn.Parameter(torch.randn(12, 4)), nn.Parameter(torch.randn(2, 4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.above(self.use(self, torch.tanh(self.below(x))))


# x is (3, 4, 4): examples, tokens, features.
PRODUCTS: dict[str, Use] = {
    "@": lambda net, x: x @ net.W,
    "@ of rows": lambda net, x: (x[:, 0] @ net.W)[:, None],
    "matmul": lambda net, x: torch.matmul(x, net.W),
    "a method": lambda net, x: x.matmul(other=net.W),
    "mm": lambda net, x: torch.mm(x.flatten(0, 1), mat2=net.W).view(x.shape),
    "bmm": lambda net, x: torch.bmm(x, net.W.expand(3, 4, 4)),
    "one vector": lambda net, x: x[0, 0] @ net.W,
    "addmm": lambda net, x: torch.addmm(net.b, x.view(-1, 4), net.W).view(x.shape),
    "addmm with a matrix": lambda net, x: torch.addmm(x[0], x[1], net.W),
    "addmm, a method": lambda net, x: net.b.addmm(x[0], net.W),
    "from the left": lambda net, x: net.W @ x,
    "from the left, matrices": lambda net, x: torch.mm(net.W, x[0]),
    "from the left, a vector": lambda net, x: net.W @ x[0, 0],
    "from the left, addmm": lambda net, x: torch.addmm(net.b[:, None], net.W, x[0]),
    "transposed": lambda net, x: x @ net.W.T,
    "transposed, in linear": lambda net, x: F.linear(x, net.W.t(), net.b),
    "transposed twice": lambda net, x: x @ net.W.mT.transpose(0, 1).contiguous(),
    "tied by a transpose": lambda net, x: F.linear(
        torch.tanh(F.linear(x, net.below.weight)), net.below.weight.t()
    ),
    "a slice": lambda net, x: x @ net.long[4:8],
    "chunks": lambda net, x: sum((x @ part for part in net.long.chunk(3)), torch.zeros(4, dtype=x.dtype)),
    "split": lambda net, x: (
        F.linear(x, net.long.split([4, 8])[0]) * F.linear(x, net.long.split([4, 8])[1])[..., 4:]
    ),
    "picked rows": lambda net, x: x @ net.long[torch.tensor([3, 1, 1, 0])],
    "a matrix a head": lambda net, x: (x[:, None] @ net.heads).transpose(1, 2).flatten(2),
    "a matrix a head, from the left": lambda net, x: (net.heads.mT @ x[:, None]).flatten(1, 2),
    "one head": lambda net, x: torch.cat([x @ net.heads[0], x @ net.heads[1]], -1),
    "as a filter": lambda net, x: F.conv1d(x, net.W[:, :, None]),
    "a copy": lambda net, x: x @ net.W.clone(),
    "a constant copy": lambda net, x: x @ net.W.detach() + x @ net.W.data,
    "two products": lambda net, x: torch.tanh(x @ net.W) @ net.W.T,
    "vectorised": lambda net, x: torch.vmap(lambda v: v @ net.W)(x),
}


def multiplying(name: str) -> tuple[Any, Tensor]:
    torch.manual_seed(2)
    return Multiplies(PRODUCTS[name]).double(), torch.randn(3, 4, 4, dtype=torch.float64)


@pytest.mark.parametrize("name", PRODUCTS)
def test_with_B_equal_to_W_a_product_is_backpropagation_and_its_forward_bit_for_bit_its_own(name):
    net, x = multiplying(name)
    plain = plain_pass(copy.deepcopy(net), x)
    assert_same(taught_pass(net, x, same_as_weights(net)), plain)
    other = taught_pass(net, x, random_feedback(net))
    assert torch.equal(other.output, plain.output)
    assert not torch.allclose(other.input_gradient, plain.input_gradient, rtol=1e-3)


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("rule", ["fa", "frsf"])
def test_a_rule_takes_it_at_its_first_call_which_looks_more_closely_and_at_later_ones(rule, name):
    net, x = multiplying(name)
    made = biograd.rules.create(rule, net)
    with torch.no_grad():
        for buffer_name, B in made.named_buffers():
            B.copy_(dict(net.named_parameters())[buffer_name.rpartition(".")[2].replace(":", ".")].abs())
    y = torch.zeros_like(net(x))
    F.mse_loss(net(x), y).backward()
    expected = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    for _ in range(2):
        net.zero_grad()
        made.assign_credit(net, x, y, F.mse_loss)
    if rule == "frsf":  # signs of W times |W|
        for parameter, gradient in zip(net.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-12)


def test_a_matrix_used_whole_and_transposed_goes_back_through_B_and_its_transpose():
    net, x = multiplying("two products")
    B = random_feedback(net)
    taught = taught_pass(net, x, B)
    W, V, U = (p.detach() for p in (net.W, net.below.weight, net.above.weight))
    h = torch.tanh(x @ V.T + net.below.bias)
    k = torch.tanh(h @ W)
    e = 2 * (k @ W.T @ U.T + net.above.bias) @ B["above.weight"]
    delta = (e @ B["W"]) * (1 - k**2)
    back = ((delta @ B["W"].T) * (1 - h**2)) @ B["below.weight"]
    torch.testing.assert_close(taught.input_gradient, back.detach(), rtol=1e-12, atol=1e-12)
    dW = torch.einsum("btj,bti->ij", k, e) + torch.einsum("bti,btj->ij", h, delta)
    torch.testing.assert_close(taught.gradients["W"], dW.detach(), rtol=1e-12, atol=1e-12)


def test_under_kp_a_part_of_B_is_taught_what_the_part_of_W_is():
    net, x = multiplying("split")
    rule = biograd.KolenPollack(net)
    rule.assign_credit(net, x, torch.zeros_like(net(x)), F.mse_loss)
    for name in ("long", "below.weight", "above.weight"):
        assert torch.equal(rule.B[name].grad, net.get_parameter(name).grad)


def test_a_frozen_matrix_carries_errors_back_through_its_B():
    net, x = multiplying("@")
    net.W.requires_grad_(False)
    B = random_feedback(net)
    frozen = taught_pass(net, x, B)
    net.W.requires_grad_(True)
    assert frozen.gradients["W"] is None
    assert torch.equal(frozen.input_gradient, taught_pass(net, x, B).input_gradient)


@pytest.mark.parametrize("name", ["@", "from the left", "transposed", "as a filter", "addmm", "a slice"])
def test_the_mirror_of_a_product_turns_the_used_part_of_B_towards_W_and_no_other(name):
    net, x = multiplying(name)
    rule = biograd.WeightMirror(net, phases=300, anneal_to=0.01)
    weight, used = (net.long, slice(4, 8)) if name == "a slice" else (net.W, slice(0, 4))
    B = rule.B["long" if name == "a slice" else "W"]
    rest = B[8:].clone()
    rule.assign_credit(net, x, torch.zeros_like(net(x)), F.mse_loss)
    assert F.cosine_similarity(B[used].flatten(), weight[used].flatten(), dim=0) > 0.99
    assert torch.equal(B[8:], rest)


@pytest.mark.parametrize("name", ["@", "from the left", "bmm", "a matrix a head", "picked rows"])
def test_the_mean_of_what_the_mirror_sees_is_the_matrix_wherever_it_stands(name):
    net, x = multiplying(name)
    rule = biograd.WeightMirror(net, mirror_rate=1.0, mirror_decay=1.0, anneal_to=1.0)  # B is its last ⟨y xᵀ⟩
    used = {"a matrix a head": "heads", "picked rows": "long"}.get(name, "W")
    W, rows = net.get_parameter(used).detach(), slice(0, 2 if used == "heads" else 4)
    W, seen = W[[0, 1, 3]] if name == "picked rows" else W, []
    for _ in range(60):
        rule.assign_credit(net, x, torch.zeros_like(net(x)), F.mse_loss)
        B = rule.B[used]
        seen.append(B[[0, 1, 3]] if name == "picked rows" else B[rows].clone())
    mean = torch.stack(seen).mean(0)
    assert 0.8 < (mean * W).sum() / W.square().sum() < 1.25
