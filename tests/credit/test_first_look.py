"""The first call of a feedback rule looks for products with vectors and constants, which carry errors exactly."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd import UnsupportedNet
from biograd.credit import FeedbackPath
from tests.credit.test_refusals import Uses, X, assert_refused, assert_taught


class Doubled(torch.autograd.Function):
    """No mode sees it run."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, *grads):
        return 2 * grads[0]


Use = Callable[[Any, torch.Tensor], torch.Tensor]


class Holds(Uses):
    """Tensors beside weight matrices: a vector as long as a matrix, one a unit, a norm, and buffers."""

    def __init__(self, use: Use) -> None:
        super().__init__(use)
        self.long, self.unit = nn.Parameter(torch.randn(16)), nn.Parameter(torch.randn(4))
        self.norm, self.other = nn.LayerNorm(16), nn.Parameter(torch.randn(4, 4))
        self.register_buffer("fixed", torch.randn(4, 4))


PRODUCTS: dict[str, tuple[Use, str]] = {
    "a vector in the form of a matrix": (
        lambda net, x: x @ net.long.view(4, 4),
        "'long' is used by .*matmul",
    ),
    "a vector, detached": (lambda net, x: x @ net.long.detach().view(4, 4), "'long' is used by .*matmul"),
    "a vector in parts": (
        lambda net, x: torch.mm(x, torch.stack(net.long.chunk(4))),
        "'long' is used by .*mm",
    ),
    "a vector in einsum": (
        lambda net, x: torch.einsum("ni,ij->nj", x, net.long.reshape(4, 4)),
        "'long' is used by .*einsum",
    ),
    "a vector that is spread and summed": (
        lambda net, x: (x[:, None] * net.long.view(4, 4)).sum(-1),
        "'long' is used by .*mul",
    ),
    "a readout by a vector": (lambda net, x: x + (x @ net.unit)[:, None], "'unit' is used by .*matmul"),
    "the scale of a norm": (
        lambda net, x: x @ net.norm.weight.view(4, 4),
        "'norm.weight' is used by .*matmul",
    ),
    "a buffer": (lambda net, x: x @ net.fixed, "'fixed' is used by .*matmul"),
    "a buffer's inverse": (lambda net, x: x @ net.fixed.inverse(), "'fixed' is used by .*matmul"),
    "a buffer from the left": (lambda net, x: net.fixed[:3, :3] @ x, "'fixed' is used by .*matmul"),
    "a buffer, an operator": (lambda net, x: torch.ops.aten.mm(x, net.fixed), "'fixed' is used by .*mm"),
    "a constant": (
        lambda net, x: x @ torch.eye(4),
        r"a constant of shape \(4, 4\) is used by .*matmul.*exactly; make each constant a buffer",
    ),
    "a buffer behind a custom function": (
        lambda net, x: Doubled.apply(x) @ net.fixed,
        "'fixed' is used by .*matmul",
    ),
    "a weight made of two": (lambda net, x: x @ F.linear(net.W, net.other), "'W' is used by linear"),
    "a weight made of a vector and a weight": (
        lambda net, x: x @ F.linear(net.long.view(4, 4), net.W),
        "'W' is used by .*matmul",
    ),
}


def holding(use: Use) -> Any:
    torch.manual_seed(0)
    return Holds(use)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_that_errors_would_pass_through_is_refused_by_name_and_allowed_when_named_exact(name):
    use, message = PRODUCTS[name]
    assert_refused(holding(use), X, message)
    frozen = holding(use)
    for vector in (frozen.long, frozen.unit, frozen.norm.weight):
        vector.requires_grad_(False)
    assert_refused(frozen, X, message)
    if name != "a constant":
        assert_taught(holding(use), X, ("long", "unit", "norm", "fixed", "W", "other"))


def test_an_attack_through_the_rules_feedback_looks_as_closely():
    net = holding(PRODUCTS["a buffer"][0])
    with pytest.raises(UnsupportedNet, match="'fixed' is used by"):
        biograd.FeedbackAlignment(net).input_gradient(net, X, torch.zeros(3, 4), F.mse_loss)


def test_weights_vectors_and_buffers_are_named_at_once():
    net = holding(lambda net, x: torch.inner(x, net.W) @ net.long.view(4, 4) @ net.fixed @ torch.eye(4))
    named = r"'W' is used by .*, 'long' is .*, 'fixed' is .*, a constant of shape \(4, 4\) is used by"
    assert_refused(net, X, named + r".*exact=\('W', 'long', 'fixed'\) and make each constant a buffer")


NO_PRODUCT: dict[str, Use] = {
    "a gain": lambda net, x: x * net.unit,
    "a gain in the form of a map": lambda net, x: x * net.unit.view(1, 4),
    "an offset": lambda net, x: x + net.unit[None],
    "a norm": lambda net, x: F.layer_norm(x, (4,), net.unit, net.unit),
    "a slope": lambda net, x: F.prelu(x, net.unit),
    "a mask": lambda net, x: x * torch.ones(4) * net.fixed[0],
    "places": lambda net, x: (x[:, None] + net.fixed)[:, 0],
    "attention without weights": lambda net, x: F.scaled_dot_product_attention(x, x, x, net.fixed[:3, :3]),
    "attention by hand": lambda net, x: (x @ x.mT).softmax(-1) @ x,
    "a product beside a constant": lambda net, x: torch.addmm(torch.ones(3, 3), x, x.T) @ x,
    "a rotation": lambda net, x: x * net.fixed[0].cos() + x.flip(-1) * net.fixed[0].sin(),
    "a draw": lambda net, x: x + torch.randn_like(x),
    "what a custom function gives": lambda net, x: Doubled.apply(x) @ (x.T @ Doubled.apply(x)),
}


@pytest.mark.parametrize("name", NO_PRODUCT)
def test_what_sums_no_products_is_taught(name):
    assert_taught(holding(NO_PRODUCT[name]), X)


class AtTheInput(nn.Module):
    """Something done to the input, then a layer."""

    def __init__(self, use: Use) -> None:
        super().__init__()
        self.use, self.layer = use, nn.Linear(4, 4)
        self.place, self.long = nn.Parameter(torch.randn(1, 4)), nn.Parameter(torch.randn(16))
        self.register_buffer("fixed", torch.randn(4, 4))

    def forward(self, x):
        return self.layer(self.use(self, x))


@pytest.mark.parametrize("use", [lambda net, x: x @ net.fixed, lambda net, x: x @ net.long.view(4, 4)])
def test_what_the_input_meets_first_carries_no_error(use):
    assert_taught(AtTheInput(use), X)


@pytest.mark.parametrize("first", [3, 1])
def test_places_that_are_added_to_the_input_are_taught_at_every_batch_size(first):
    torch.manual_seed(0)
    net = AtTheInput(lambda net, x: x + net.place)
    rule = biograd.FeedbackAlignment(net)
    for count in (first, 1, 3):
        net.zero_grad()
        rule.assign_credit(net, X[:count], torch.zeros(count, 4), F.mse_loss)
    output = net(X)
    error = torch.autograd.grad(F.mse_loss(output, torch.zeros(3, 4)), output)[0]
    torch.testing.assert_close(net.place.grad, (error @ rule.B["layer.weight"]).sum(0, keepdim=True))


def test_noise_on_a_weight_is_refused_at_batch_size_one_too():
    net = holding(lambda net, x: x @ (net.W + 0.1))
    assert_refused(net, X[:1], "'W' is used by TensorBase.matmul")


def test_a_rule_looks_at_its_first_call_alone(monkeypatch):
    # the derivative of a GELU is not told by what it gives, so that the net is not taught by hand
    net, looks, forward = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4)), [], FeedbackPath.forward

    def watched(path, net, x, *, look=False):
        looks.append(look)
        return forward(path, net, x, look=look)

    monkeypatch.setattr(FeedbackPath, "forward", watched)
    assert_taught(net, X)
    assert looks == [True, False]


@pytest.mark.parametrize("name", ["fa", "usf", "brsf", "frsf", "kp", "wm"])
def test_looking_changes_no_bit(name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 4))
    taken = []
    for looked in (False, True):
        rule = biograd.rules.create(name, net)
        rule._has_looked = looked
        net.zero_grad()
        torch.manual_seed(1)
        output = rule.assign_credit(net, X, torch.zeros(3, 4), F.mse_loss).output
        taken.append([output, torch.get_rng_state(), *(p.grad for p in net.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*taken, strict=True))


class Multiplied(torch.autograd.Function):
    """A product that no mode sees, of a tensor that no node keeps track of."""

    @staticmethod
    def forward(ctx, x, matrix):
        ctx.save_for_backward(matrix)
        return x @ matrix

    @staticmethod
    def backward(ctx, *grads):
        (matrix,) = ctx.saved_tensors
        return grads[0] @ matrix.T, None


class Later(Holds):
    """Does something else from its second call on."""

    def __init__(self) -> None:
        super().__init__(lambda net, x: x @ net.fixed if net.calls > 1 else x)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


UNSEEN: dict[str, Callable[[], nn.Module]] = {
    "within a custom function": lambda: holding(lambda net, x: Multiplied.apply(x, net.fixed)),
    "element by element with what was spread before": lambda: holding(
        lambda net, x: (x[:, None].expand(-1, 4, -1) * net.long.view(4, 4)).sum(-1)
    ),
    "at later calls alone": Later,
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_the_documentation_says_is_not_seen_is_not_seen(name):
    net = UNSEEN[name]()
    rule = biograd.FeedbackAlignment(net)
    for _ in range(2):
        rule.assign_credit(net, X, torch.zeros(3, 4), F.mse_loss)
