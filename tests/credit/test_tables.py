"""Embeddings and bags of them: looked up exactly, below layers whose errors go back through B."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import biograd
from biograd import UnsupportedNet
from biograd.credit import feedback_path, taught_weights

TOKENS = torch.tensor([[1, 4, 4], [0, 2, 6], [3, 3, 3]])
COUNTS = torch.tensor([[1.0, 0.5, 2.0], [0.0, 1.0, 1.0], [0.5, 0.5, 3.0]], dtype=torch.float64)

TABLES: dict[str, Callable[[], nn.Module]] = {
    "embedding": lambda: nn.Embedding(7, 4, padding_idx=0),
    "embedding, sparse": lambda: nn.Embedding(7, 4, sparse=True),
    "embedding by frequency": lambda: nn.Embedding(7, 4, scale_grad_by_freq=True),
    "embedding of bounded norm": lambda: nn.Embedding(7, 4, max_norm=1.0),
    "bag, mean": lambda: nn.EmbeddingBag(7, 4),
    "bag, sum": lambda: nn.EmbeddingBag(7, 4, mode="sum", sparse=True),
    "bag, max": lambda: nn.EmbeddingBag(7, 4, mode="max"),
}


class OverTokens(nn.Module):
    """A table, and two linear layers behind what it looks up; of tokens one by one, their mean."""

    def __init__(self, table: nn.Module, weigh: Callable[[Any], Tensor | None] = lambda net: None) -> None:
        super().__init__()
        self.table, self.hidden, self.output = table, nn.Linear(4, 5), nn.Linear(5, 3)
        self.counts, self.weigh = nn.Linear(1, 1), weigh

    def forward(self, tokens: Tensor) -> Tensor:
        weights = self.weigh(self)
        x = self.table(tokens) if weights is None else self.table(tokens, per_sample_weights=weights)
        return self.output(torch.tanh(self.hidden(x if x.dim() == 2 else x.mean(1))))


def net_of(table: Callable[[], nn.Module], **options: Any) -> Any:
    torch.manual_seed(0)
    return OverTokens(table(), **options).double()


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("is_random", [False, True], ids=["B = W", "random B"])
def test_a_table_is_taught_by_the_error_that_came_back_through_B(name, is_random):
    net, other = net_of(TABLES[name]), net_of(TABLES[name])
    B = {n: torch.randn_like(W) if is_random else W.detach() for n, W in taught_weights(net).items()}
    assert "table.weight" not in B
    with feedback_path(net, B) as path:
        output = path.forward(net, TOKENS, look=True)
    path.check(output)
    path.backward([output.square().sum()])
    # the plain equations down to what was looked up, and PyTorch's own derivative of that
    looked_up = other.table(TOKENS)
    x = looked_up if looked_up.dim() == 2 else looked_up.mean(1)
    h = torch.tanh(x @ other.hidden.weight.T + other.hidden.bias).detach()
    y = (h @ other.output.weight.T + other.output.bias).detach()
    delta = (2 * y @ B["output.weight"]) * (1 - h**2)
    x.backward(delta @ B["hidden.weight"])
    assert torch.equal(output.detach(), y)
    got, expected = (each.table.weight.grad.to_dense() for each in (net, other))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(net.hidden.weight.grad, delta.T @ x.detach(), rtol=1e-12, atol=1e-12)


def weighed() -> nn.Module:
    return nn.EmbeddingBag(7, 4, mode="sum")


def test_how_much_a_token_counts_may_be_given_and_not_computed_by_the_net_unless_the_table_is_exact():
    given = net_of(weighed, weigh=lambda net: COUNTS)
    biograd.FeedbackAlignment(given).assign_credit(given, TOKENS, torch.tensor([0, 1, 2]), F.cross_entropy)
    assert given.table.weight.grad.any()
    computed = net_of(weighed, weigh=lambda net: net.counts(COUNTS[..., None])[..., 0])
    for frozen in (False, True):
        computed.table.requires_grad_(not frozen)
        rule = biograd.FeedbackAlignment(computed)
        with pytest.raises(UnsupportedNet, match=r"'table.weight' is used by embedding_bag.*exact=\('table"):
            rule.assign_credit(computed, TOKENS, torch.tensor([0, 1, 2]), F.cross_entropy)
    rule = biograd.FeedbackAlignment(computed, exact=("table",))
    rule.assign_credit(computed, TOKENS, torch.tensor([0, 1, 2]), F.cross_entropy)
    assert computed.counts.weight.grad.any()


@pytest.mark.parametrize("rule", ["fa", "usf", "kp", "dfa", "dtp"])
def test_a_chain_that_opens_with_a_bag_is_taught(rule):
    torch.manual_seed(0)
    net = nn.Sequential(nn.EmbeddingBag(7, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    made = biograd.rules.create(rule, net, sample=TOKENS[:1])
    for _ in range(2):
        made.assign_credit(net, TOKENS, torch.tensor([0, 1, 2]), F.cross_entropy)
    assert all(parameter.grad.any() for parameter in net.parameters())  # pyright: ignore
