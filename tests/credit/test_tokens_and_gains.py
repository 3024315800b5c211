"""Tokens, positions and gains hold no product with a weight: they pass, whatever form they are given."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import biograd
from biograd import UnsupportedNet
from tests.credit.taught import assert_same, plain_pass, same_as_weights, taught_pass

Use = Callable[[Any, Tensor], Tensor]


class Tokens(nn.Module):
    """Patches, something done with tokens or gains, then a layer.

    Args:
        use: of the net and of what the first layer gives, ``(batch, 5, 4)``.
    """

    def __init__(self, use: Use) -> None:
        super().__init__()
        self.patch, self.head, self.use = nn.Linear(6, 4), nn.Linear(4, 3), use
        self.token, self.other = (nn.Parameter(torch.randn(1, 1, 4)) for _ in range(2))
        self.place, self.places = nn.Parameter(torch.randn(1, 9, 4)), nn.Embedding(9, 4)
        self.gain, self.scale = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(4))
        self.temperature, self.table = nn.Parameter(torch.rand(1, 1)), nn.Parameter(torch.randn(9, 4))
        self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))
        self.register_buffer("mask", torch.tensor([1.0, 0, 0, 1, 0])[:, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.use(self, self.patch(x))))


def attended(net: Any, query: Tensor, x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(net.query(query), net.key(x), net.value(x))


USES: dict[str, Use] = {
    "a class token": lambda net, x: torch.cat([net.token.expand(len(x), -1, -1), x], 1),
    "a class token, repeated": lambda net, x: torch.cat((net.token.repeat(len(x), 1, 1), x), dim=1),
    "two tokens, joined first": lambda net, x: torch.cat(
        [torch.cat([net.token, net.other], 1).expand(len(x), -1, -1), x], 1
    ),
    "a token in a stack": lambda net, x: torch.stack([net.token[0].expand(len(x), 4), x[:, 0]], 1),
    "a token put in place": lambda net, x: _put(x.clone(), net.token[0, 0]),
    "positions, cut": lambda net, x: x + net.place[:, : x.shape[1]],
    "positions, cut by narrow and dropped": lambda net, x: x + F.dropout(net.place.narrow(1, 0, 5), 0.0),
    "positions of a table": lambda net, x: x + net.places.weight[:5],
    "positions, picked": lambda net, x: x + net.table[torch.tensor([0, 2, 4, 1, 1])],
    "positions, interpolated": lambda net, x: x + F.interpolate(net.place.mT, 5, mode="linear").mT,
    "positions of rows and columns": lambda net, x: x + (net.table[:5, None] + net.table[None, :1])[:, 0],
    "masked patches": lambda net, x: x * (1 - net.mask) + net.token.expand(len(x), 5, -1) * net.mask,
    "masked patches, chosen": lambda net, x: torch.where(net.mask > 0, net.token, x),
    "a layer's scale": lambda net, x: x + net.gain * x.sin(),
    "a layer's scale, in place": lambda net, x: x.sin().mul_(net.gain),
    "a scale of one and more": lambda net, x: x * (1 + net.gain),
    "a scale of an exponential": lambda net, x: x * net.temperature.clamp(max=1).exp(),
    "a norm by hand": lambda net, x: net.scale * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)),
    "a norm by hand, gain of rows": lambda net, x: (
        (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True) * net.gain
    ),
    "a learned query": lambda net, x: attended(net, net.token.expand(len(x), -1, -1), x),
    "a learned query behind a norm": lambda net, x: attended(
        net, F.layer_norm(net.places.weight[:, None].repeat(1, len(x), 1).transpose(0, 1), (4,)), x
    ),
    "a learned query beside zeros": lambda net, x: attended(
        net, torch.zeros_like(x[:, :1]) + net.token.expand(len(x), -1, -1), x
    ),
    "looked up by hand, then a layer": lambda net, x: x + net.query(net.table[torch.arange(5)]),
}


def _put(x: Tensor, token: Tensor) -> Tensor:
    x[:, 0] = token
    return x


def using(use: Use) -> tuple[Any, Tensor]:
    torch.manual_seed(6)
    return Tokens(use).double(), torch.randn(3, 5, 6, dtype=torch.float64)


@pytest.mark.parametrize("name", USES)
def test_with_B_equal_to_W_what_uses_tokens_and_gains_is_backpropagation(name):
    net, x = using(USES[name])
    assert_same(taught_pass(net, x, same_as_weights(net)), plain_pass(copy.deepcopy(net), x))


@pytest.mark.parametrize("name", USES)
def test_a_rule_takes_them_at_its_first_call_and_at_later_ones_of_any_size(name):
    net, x = using(USES[name])
    rule = biograd.FeedbackAlignment(net)
    for count in (1, 3):
        rule.assign_credit(net, x[:count], torch.zeros_like(net(x[:count])), F.mse_loss)
    for parameter in net.parameters():
        parameter.requires_grad_(parameter.dim() < 2)  # frozen tokens pass too
    biograd.FeedbackAlignment(net).assign_credit(net, x, torch.zeros_like(net(x)), F.mse_loss)


class AtTheInput(nn.Module):
    """Tokens beside the input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(1, 6, 4))
        self.gain, self.head = nn.Parameter(torch.randn(1, 1, 4)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x * self.gain], 1) + self.place[:, : x.shape[1] + 1]
        return self.head(x)


def test_tokens_places_and_gains_of_the_input_are_taught_at_every_batch_size_and_seen_before_a_first_step():
    torch.manual_seed(0)
    net, x = AtTheInput(), torch.randn(3, 5, 4)
    rule = biograd.FeedbackAlignment(net)
    assert rule.carrying_names(net, x[:1]) == {"head.weight"}
    for count in (3, 1, 2):
        net.zero_grad()
        rule.assign_credit(net, x[:count], torch.zeros(count, 6, 3), F.mse_loss)
        error = (net(x[:count]) * 2 / (count * 18)).detach() @ rule.B["head.weight"]
        torch.testing.assert_close(net.token.grad, error[:, :1].sum(0, keepdim=True))
        torch.testing.assert_close(net.place.grad, error.sum(0, keepdim=True))
        torch.testing.assert_close(net.gain.grad, (error[:, 1:] * x[:count]).sum((0, 1), keepdim=True))


INPUTS: dict[str, Use] = {
    "places": lambda net, x: net.head(x + net.place[0, :5]),
    "a token": lambda net, x: net.head(torch.cat([net.place[0, :1], x])),
    "a gain": lambda net, x: net.head(x[:1] * net.gain[0]),
}


@pytest.mark.parametrize("name", INPUTS)
def test_what_one_sequence_is_given_before_the_first_layer_makes_no_weight_at_later_calls_either(name):
    class First(AtTheInput):
        def forward(self, x):
            return INPUTS[name](self, x)

    torch.manual_seed(0)
    net, x = First(), torch.randn(5, 4)
    rule = biograd.FeedbackAlignment(net)
    for _ in range(2):
        rule.assign_credit(net, x, torch.zeros_like(net(x)), F.mse_loss)


REFUSED: dict[str, tuple[Use, str]] = {
    "a token as a weight": (
        lambda net, x: F.scaled_dot_product_attention(net.token.expand(len(x), -1, -1), x, x),
        "'token' is used by .*scaled_dot_product_attention",
    ),
    "a gain as a weight": (lambda net, x: x + F.linear(x, net.gain.exp()[0]), "'gain' is used by linear"),
    "a gain that spreads": (lambda net, x: x[..., :1] * net.gain, "'gain' is used by .*mul"),
    "a matrix of gains": (lambda net, x: x * net.table[:5], "'table' is used by .*mul"),
    "interpolated positions as a weight": (
        lambda net, x: x @ F.interpolate(net.place, 4, mode="linear")[0, :4],
        "'place' is used by .*matmul",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_token_or_gain_that_is_multiplied_as_a_weight_is_refused_by_name(name):
    use, message = REFUSED[name]
    net, x = using(use)
    rule = biograd.FeedbackAlignment(net)
    for _ in range(2):
        with pytest.raises(UnsupportedNet, match=message):
            rule.assign_credit(net, x, torch.zeros_like(net(x)), F.mse_loss)
    assert all(parameter.grad is None for parameter in net.parameters())
