"""Recurrent layers and cells: PyTorch's values to rounding, B = W is backpropagation, any other B is the equation."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import biograd
from biograd import UnsupportedNet
from biograd.credit import feedback_path, taught_weights
from biograd.credit.graph import tensors_in
from tests.credit.taught import random_feedback, same_as_weights

LENGTHS = [3, 5, 1]


def sequence(seed: int = 0) -> Tensor:
    return torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Last(nn.Module):
    """A linear layer, a recurrent one, and all that it gives, as one row an example."""

    def __init__(self, kind: Callable[..., nn.Module], *, is_packed: bool = False, **settings: Any) -> None:
        super().__init__()
        self.below = nn.Linear(4, 4)
        self.recurrent = kind(4, 6, batch_first=True, **settings)
        self.is_packed = is_packed

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.below(x))
        if self.is_packed:
            x = pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
        output, state = self.recurrent(x)
        states = torch.cat([part.transpose(0, 1).flatten(1) for part in tensors_in(state)], 1)
        sums = output.data.sum(0) if self.is_packed else output.sum(1)
        return states + sums.sum(-1, keepdim=True)


class Cells(nn.Module):
    """A cell over the steps of a sequence, from its own first state or from a given one."""

    def __init__(self, kind: Callable[..., nn.Module], *, starts: bool = False, **settings: Any) -> None:
        super().__init__()
        self.below, self.cell, self.starts = nn.Linear(4, 4), kind(4, 6, **settings), starts

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.below(x))
        start = x.new_ones(len(x), 6) if self.starts else None
        state: Any = (start, start) if self.starts and isinstance(self.cell, nn.LSTMCell) else start
        for at_step in x.unbind(1):
            state = self.cell(at_step, state)
        return torch.cat(list(tensors_in(state)), 1)


NETS: dict[str, Callable[[], nn.Module]] = {
    "RNN": lambda: Last(nn.RNN),
    "RNN of ReLUs": lambda: Last(nn.RNN, nonlinearity="relu", bias=False),
    "LSTM": lambda: Last(nn.LSTM),
    "LSTM, projected both ways": lambda: Last(nn.LSTM, num_layers=2, bidirectional=True, proj_size=3),
    "LSTM, projected, without bias": lambda: Last(nn.LSTM, proj_size=3, bias=False),
    "LSTM, packed both ways": lambda: Last(nn.LSTM, is_packed=True, num_layers=2, bidirectional=True, dropout=0.4),
    "GRU": lambda: Last(nn.GRU),
    "GRU both ways, with dropout": lambda: Last(nn.GRU, num_layers=3, bidirectional=True, dropout=0.4),
    "GRU, packed": lambda: Last(nn.GRU, is_packed=True, num_layers=2, bias=False),
    "RNNCell": lambda: Cells(nn.RNNCell, starts=True),
    "RNNCell of ReLUs": lambda: Cells(nn.RNNCell, nonlinearity="relu"),
    "LSTMCell": lambda: Cells(nn.LSTMCell, starts=True),
    "LSTMCell without bias": lambda: Cells(nn.LSTMCell, bias=False),
    "GRUCell": lambda: Cells(nn.GRUCell),
}  # fmt: skip


def made(name: str) -> Any:
    torch.manual_seed(3)
    return NETS[name]().double()


def taught(
    net: nn.Module, x: Tensor, feedback: dict[str, Tensor], **options: Any
) -> tuple[Tensor, dict[str, Any]]:
    """The output of a net, and what its parameters learn through a feedback path."""
    net.zero_grad()
    torch.manual_seed(5)
    with feedback_path(net, feedback, **options) as path:
        output = path.forward(net, x, look=True)
    path.check(output)
    path.backward([output.square().sum()])
    return output.detach(), {name: parameter.grad for name, parameter in net.named_parameters()}


def backpropagated(net: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Any]]:
    net.zero_grad()
    torch.manual_seed(5)
    output = net(x)
    output.square().sum().backward()
    return output.detach(), {name: parameter.grad for name, parameter in net.named_parameters()}


def assert_close(one: tuple[Tensor, dict[str, Any]], other: tuple[Tensor, dict[str, Any]]) -> None:
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_with_B_equal_to_W_it_is_backpropagation_and_its_values_and_draws_are_its_own_to_rounding(name):
    net, x = made(name), sequence()
    got = taught(net, x, same_as_weights(net))
    state = torch.get_rng_state()
    assert_close(got, backpropagated(net, x))
    assert torch.equal(state, torch.get_rng_state())


class Through(torch.autograd.Function):
    """``x Wᵀ``, through which errors go back by B."""

    @staticmethod
    def forward(ctx, x, W, B):
        ctx.save_for_backward(x, B)
        return x @ W.T

    @staticmethod
    def backward(ctx, *grads):
        x, B = ctx.saved_tensors
        return grads[0] @ B, grads[0].T @ x, None


def plain(net: Any, x: Tensor, B: dict[str, Tensor]) -> Tensor:
    """What each kind of cell does at each step, from PyTorch's documentation, each product written by hand."""
    named = dict(net.named_parameters())
    kind = type(net.cell).__name__

    def product(h, name):
        return Through.apply(h, named[f"{name}.weight"], B[f"{name}.weight"]) + named[f"{name}.bias"]

    def gates(h, name):
        by_hand: Any = Through.apply(h, named[f"cell.weight_{name}"], B[f"cell.weight_{name}"])
        return by_hand + named[f"cell.bias_{name}"]

    h = c = x.new_zeros(len(x), 6)
    for at_step in x.unbind(1):
        u = torch.tanh(product(at_step, "below"))
        if kind == "RNNCell":
            h = torch.tanh(gates(u, "ih") + gates(h, "hh"))
        elif kind == "LSTMCell":
            i, f, g, o = (gates(u, "ih") + gates(h, "hh")).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        else:
            (r, z, n), (r_h, z_h, n_h) = gates(u, "ih").chunk(3, 1), gates(h, "hh").chunk(3, 1)
            z = torch.sigmoid(z + z_h)
            h = (1 - z) * torch.tanh(n + torch.sigmoid(r + r_h) * n_h) + z * h
    return torch.cat([h, c], 1) if kind == "LSTMCell" else h


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_with_any_other_B_errors_go_back_through_it_at_every_step(kind):
    torch.manual_seed(3)
    net: Any = Cells(kind).double()
    B = random_feedback(net)
    assert set(B) == {"below.weight", "cell.weight_ih", "cell.weight_hh"}
    got = taught(net, sequence(), B)
    net.zero_grad()
    output = plain(net, sequence(), B)
    output.square().sum().backward()
    assert_close(got, (output.detach(), {name: p.grad for name, p in net.named_parameters()}))


PAIRS = {nn.RNN: nn.RNNCell, nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell}


@pytest.mark.parametrize("kind", PAIRS)
def test_layers_of_any_depth_and_direction_are_taught_as_cells_by_the_same_B(kind):
    """Two layers both ways are four cells: what a layer is taught is what its cell is."""
    torch.manual_seed(3)
    layers, x = kind(4, 3, num_layers=2, bidirectional=True, batch_first=True).double(), sequence()
    cells: Any = nn.ModuleDict()
    for suffix, size in (("l0", 4), ("l0_reverse", 4), ("l1", 6), ("l1_reverse", 6)):
        cells[suffix] = PAIRS[kind](size, 3).double()
        cells[suffix].load_state_dict(
            {part: getattr(layers, f"{part}_{suffix}") for part in cells[suffix].state_dict()}
        )
    B = random_feedback(layers)
    of_cells = {
        f"{name.split('_', 2)[2]}.{'_'.join(name.split('_')[:2])}": matrix for name, matrix in B.items()
    }

    def run(cell, steps):
        state: Any = None
        for at_step in steps:
            state = cell(at_step, state)
            yield state if isinstance(state, Tensor) else state[0]

    with feedback_path(layers, B):
        layers(x)[0].square().sum().backward()
    with feedback_path(cells, of_cells):
        steps = list(x.unbind(1))
        for layer in ("l0", "l1"):
            there, back = list(run(cells[layer], steps)), list(run(cells[f"{layer}_reverse"], steps[::-1]))
            steps = [torch.cat(both, 1) for both in zip(there, back[::-1], strict=True)]
        torch.stack(steps).square().sum().backward()
    for name, parameter in layers.named_parameters():
        kind_of_part, _, suffix = name.partition("_l")
        expected = getattr(cells[f"l{suffix}"], kind_of_part).grad
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-12, atol=1e-12)


def test_what_a_packed_sequence_teaches_is_the_sum_of_what_its_examples_teach():
    torch.manual_seed(3)
    net, x = Last(nn.LSTM, is_packed=True, bidirectional=True).recurrent.double(), sequence()
    B = random_feedback(net)

    def learned(packed):
        net.zero_grad()
        with feedback_path(net, B):
            output, state = net(packed)
        (output.data.square().sum() + sum(part.square().sum() for part in state)).backward()
        return {name: parameter.grad for name, parameter in net.named_parameters()}

    whole = learned(pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False))
    alone = [
        learned(pack_padded_sequence(x[[place]], torch.tensor([length]), batch_first=True))
        for place, length in enumerate(LENGTHS)
    ]
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, sum(each[name] for each in alone), rtol=1e-12, atol=1e-12)


def test_without_gradients_and_where_all_of_it_is_exact_pytorchs_own_function_runs(monkeypatch):
    net, x = made("LSTM"), sequence()
    expected, gradients = backpropagated(net, x)
    monkeypatch.setattr("biograd.credit.recurrence.RecurrentLayers.run", lambda *_: 1 / 0)
    with torch.no_grad(), feedback_path(net, random_feedback(net)):
        assert torch.equal(net(x), expected)
    got = taught(net, x, same_as_weights(net, ("recurrent",)), exact=("recurrent",))
    assert torch.equal(got[0], expected)
    assert_close(got, (expected, gradients))


def test_one_of_its_matrices_may_be_exact():
    net, x = made("GRU"), sequence()
    exact = ("recurrent.weight_hh_l0",)
    B = random_feedback(net, exact=exact)
    assert set(B) == {"below.weight", "recurrent.weight_ih_l0"}
    whole = {**B, "recurrent.weight_hh_l0": net.recurrent.weight_hh_l0.detach().clone()}
    assert_close(taught(net, x, B, exact=exact), taught(net, x, whole))


def test_each_matrix_is_told_of_once_with_all_the_inputs_that_it_had():
    net, x, calls = made("LSTM, projected both ways"), sequence(), []
    with feedback_path(net, random_feedback(net), on_call=calls.append):
        net(x)
    assert sorted(call.name for call in calls) == sorted(taught_weights(net))
    shapes = {call.name.removeprefix("recurrent."): tuple(call.input_shape) for call in calls}
    assert shapes["weight_ih_l0"] == (15, 4)
    assert shapes["weight_hh_l1_reverse"] == (15, 3)
    assert shapes["weight_hr_l1"] == (15, 6)
    assert {call.name for call in calls if not call.carries_error} == {"below.weight"}


@pytest.mark.parametrize("rule", ["fa", "usf", "brsf", "frsf", "kp", "wm"])
def test_a_rule_teaches_every_matrix_and_says_what_it_classifies(rule):
    net = nn.Sequential(made("LSTM"), nn.Linear(12, 3)).double()
    x, y = sequence(), torch.tensor([0, 1, 2])
    made_rule = biograd.rules.create(rule, net)
    before = {name: matrix.clone() for name, matrix in made_rule.feedback_matrices(net).items()}
    for _ in range(2):
        credit = made_rule.assign_credit(net, x, y, F.cross_entropy)
    torch.testing.assert_close(credit.output, net(x).detach(), rtol=1e-12, atol=1e-12)
    assert all(parameter.grad.any() for parameter in net.parameters())
    if rule == "wm":
        after = made_rule.feedback_matrices(net)
        assert not any(torch.equal(before[name], after[name]) for name in before)


def test_the_feedback_of_every_matrix_aligns_with_it_under_wm():
    net = nn.Sequential(made("GRU"), nn.Linear(6, 3)).double()
    x, y = sequence().repeat(40, 1, 1), torch.arange(120) % 3
    rule = biograd.rules.create("wm", net, mirror_rate=0.2, mirror_decay=0.2)
    for _ in range(30):
        rule.assign_credit(net, x, y, F.cross_entropy)
    for name, B in rule.feedback_matrices(net).items():
        assert F.cosine_similarity(B.flatten(), net.get_parameter(name).flatten(), 0) > 0.97, name


class Learned(nn.Module):
    """First states that are parameters, given to every example."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.recurrent = nn.Linear(4, 4), nn.LSTM(4, 6, batch_first=True)
        self.h, self.c = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(1, 6))

    def forward(self, x: Tensor) -> Tensor:
        h, c = self.h.expand(1, len(x), 6).contiguous(), self.c[:, None].repeat(1, len(x), 1)
        return self.recurrent(self.below(x), (h, c))[0]


def test_first_states_may_be_learned():
    torch.manual_seed(3)
    net = Learned().double()
    assert_close(taught(net, sequence(), same_as_weights(net)), backpropagated(net, sequence()))


class GivenWeights(nn.Module):
    """Calls PyTorch's function with a matrix that is computed in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.maker = nn.Linear(4, 4), nn.Linear(1, 16)
        self.W = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        made = self.maker(torch.ones(1)).view(4, 4)
        return torch.rnn_tanh_cell(self.below(x), x.new_zeros(len(x), 4), self.W, made)


def test_a_matrix_that_the_forward_computes_is_refused():
    torch.manual_seed(0)
    net, x = GivenWeights(), torch.randn(3, 4)
    with pytest.raises(
        UnsupportedNet, match=r"linear uses a weight of shape \(4, 4\) that is no taught param"
    ):
        biograd.FeedbackAlignment(net).assign_credit(net, x, torch.zeros(3, 4), F.mse_loss)
