"""Which matrices are hidden is seen from what a net does with them, whatever it is made of."""

import copy

import pytest
import torch
from torch import nn

from biograd import nets
from biograd.credit.hidden_matrices import hidden_matrices, still

LAYER = {"attention.qkv.weight", "attention.out.weight", "mlp.up.weight", "mlp.down.weight"}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, num_layers=2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.embed, self.encoder, self.head = (
            nn.Linear(3, 4),
            nn.TransformerEncoder(layer, 1),
            nn.Linear(4, 2),
        )

    def forward(self, x):
        return self.head(self.encoder(self.embed(x)).mean(1))


class Attentive(nn.Module):
    """Attention right at the input, whose out-projection alone is behind something that learns."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0].mean(1))


class ByHand(nn.Module):
    """Products without layers; one matrix is used twice, and two make the output."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(4, 4))
        self.a, self.b = nn.Parameter(torch.ones(4, 2)), nn.Parameter(torch.ones(4, 2))

    def forward(self, x):
        h = torch.tanh(x @ self.first)
        h = torch.tanh(torch.addmm(torch.zeros(4), torch.tanh(h @ self.again), self.again))
        return {"a": h @ self.a, "sum": h @ self.a + h @ self.b.clone()}


@pytest.mark.parametrize(
    ("net", "x", "hidden"),
    [
        (lambda: nets.create("mlp", (3,), 2, widths=(4,)), torch.ones(2, 3), set()),
        (lambda: nets.create("mlp", (3,), 2, widths=(4, 4, 4)), torch.ones(2, 3), {"2.weight", "4.weight"}),
        (lambda: nets.create("vit", (1, 4, 4), 2, depth=1, pooling="token"), torch.ones(2, 1, 4, 4), LAYER),
        (lambda: nets.create("gpt", (4,), 2, depth=1), torch.ones(2, 3).long(), LAYER),
        (lambda: nets.create("gpt", (4,), 2, depth=1, tied=True), torch.ones(2, 3).long(), LAYER),
        (Recurrent, torch.ones(2, 5, 3), {"lstm.weight_hh_l0", "lstm.weight_ih_l1", "lstm.weight_hh_l1"}),
        (
            Encoder,
            torch.ones(2, 5, 3),
            {f"self_attn.{name}" for name in ("in_proj_weight", "out_proj.weight")}
            | {"linear1.weight", "linear2.weight"},
        ),
        (Attentive, torch.ones(2, 5, 4), {"attention.out_proj.weight"}),
        (ByHand, torch.ones(2, 3), {"again"}),
    ],
)
def test_a_matrix_is_hidden_that_something_learns_below_and_another_one_comes_behind(net, x, hidden):
    found = hidden_matrices(net(), x)
    assert {name.removeprefix("layers.0.").removeprefix("encoder.layers.0.") for name in found} == hidden


def test_what_is_frozen_below_does_not_make_a_matrix_the_first():
    net = nets.create("mlp", (3,), 2, widths=(4, 4))
    net[0].requires_grad_(False)
    assert hidden_matrices(net, torch.ones(2, 3)) == {"2.weight"}
    assert not net[0].weight.requires_grad


def test_a_look_leaves_nothing_behind():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 4), nn.Linear(4, 2))
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    hidden_matrices(net, torch.ones(2, 3))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def fail_within(context, check):
    with context:
        check()
        raise ZeroDivisionError


def test_still_parameters_learn_again_behind_an_error_and_frozen_ones_do_not():
    learning, frozen = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2), requires_grad=False)
    within = []
    with pytest.raises(ZeroDivisionError):
        fail_within(still([learning, frozen]), lambda: within.append(learning.requires_grad))
    assert within == [False]
    assert (learning.requires_grad, frozen.requires_grad) == (True, False)
