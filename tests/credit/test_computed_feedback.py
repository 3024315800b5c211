"""Feedback stands beside a weight that is computed; what it is computed of gets its exact derivative of it."""

import contextlib
import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import biograd
from biograd import UnsupportedNet
from biograd.credit import feedback_path, taught_weights
from biograd.diagnostics import feedback_angles
from biograd.rules import sign_concordant
from tests.credit.taught import assert_same, plain_pass, random_feedback, same_as_weights, taught_pass
from tests.credit.test_refusals import hooked


class LowRank(nn.Module):
    """``W + B A``, by a function that feedback paths teach elsewhere."""

    def __init__(self, out: int, into: int) -> None:
        super().__init__()
        self.A, self.B = nn.Parameter(torch.randn(1, into)), nn.Parameter(torch.randn(out, 1))

    def forward(self, W: Tensor) -> Tensor:
        return W + F.linear(self.B, self.A.t()).view_as(W)


class Squashed(nn.Module):
    def forward(self, W: Tensor) -> Tensor:
        return torch.tanh(W)


class Dropped(nn.Module):
    """Connections that are left out at random."""

    def forward(self, W: Tensor) -> Tensor:
        return F.dropout(W, 0.3)


def low_rank(layer: nn.Module) -> nn.Module:
    matrix = layer.weight.flatten(1)
    parametrize.register_parametrization(layer, "weight", LowRank(*matrix.shape))
    layer.get_submodule("parametrizations.weight").get_parameter("original").requires_grad_(False)
    return layer


def twice(layer: nn.Module) -> nn.Module:
    parametrizations.weight_norm(layer)
    parametrize.register_parametrization(layer, "weight", Squashed())
    return layer


def dropped(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Dropped(), unsafe=True)
    return layer


def pruned(layer: nn.Module) -> nn.Module:
    prune.l1_unstructured(layer, "weight", 0.3)
    return prune.random_unstructured(layer, "weight", 0.3)  # a container of both


COMPUTED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "spectral_norm": parametrizations.spectral_norm,
    "weight_norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "the older weight_norm": nn.utils.weight_norm,
    "the older spectral_norm": nn.utils.spectral_norm,
    "pruning": pruned,
    "a sum with a low-rank part": low_rank,
    "one parametrisation behind another": twice,
    "connections dropped at random": dropped,
}


def computed(kind: str, layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the older weight_norm, in many nets still
        return COMPUTED[kind](layer)


def mlp(kind: str) -> Any:
    torch.manual_seed(0)
    second = computed(kind, nn.Linear(6, 6))
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), second, nn.Tanh(), nn.Linear(6, 3)).double()


def convolutional(kind: str) -> Any:
    torch.manual_seed(0)
    second = computed(kind, nn.Conv2d(3, 4, 2))
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.Tanh(), second, nn.Flatten(), nn.Linear(16, 3)).double()


X = torch.randn(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
IMAGES = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 0])
RULES = ["fa", "usf", "brsf", "frsf", "kp", "wm"]


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize(("make", "x"), [(mlp, X), (convolutional, IMAGES)], ids=["linear", "convolution"])
def test_with_B_equal_to_the_weight_that_was_computed_it_is_backpropagation(kind, make, x):
    net, other = make(kind), make(kind)
    assert list(taught_weights(net)) == ["0.weight", "4.weight", "2.weight"]
    torch.manual_seed(3)
    B = same_as_weights(net)
    torch.manual_seed(3)
    taught = taught_pass(net, x, B)
    torch.manual_seed(3)
    assert_same(taught, plain_pass(other, x))
    for (name, buffer), expected in zip(net.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(buffer, expected), name


@pytest.mark.parametrize("kind", COMPUTED)
def test_with_any_other_B_errors_go_back_through_it_and_the_parts_learn_what_the_weight_would(kind):
    net, other, B = mlp(kind), mlp(kind), random_feedback(mlp(kind))
    torch.manual_seed(3)
    taught = taught_pass(net, X, B)
    torch.manual_seed(3)
    other(X)  # as an older hook computes its weight, and spectral norm its vectors, before a forward
    torch.manual_seed(3)
    W = other[2].weight if "older" in kind or kind == "pruning" else other.eval()[2].weight
    h0 = torch.tanh(other[0](X)).detach()
    h2 = torch.tanh(F.linear(h0, W, other[2].bias)).detach()
    e = 2 * other[4](h2).detach()
    delta = (e @ B["4.weight"]) * (1 - h2**2)
    W.backward(delta.T @ h0)
    torch.testing.assert_close(taught.gradients["0.weight"], (delta @ B["2.weight"] * (1 - h0**2)).T @ X)
    for name, part in other[2].named_parameters():
        if name != "bias":
            torch.testing.assert_close(taught.gradients[f"2.{name}"], part.grad, rtol=1e-12, atol=1e-12)
            assert part.grad is None or part.grad.any()


def recurrent(kind: str) -> Any:
    torch.manual_seed(0)
    layer: Any = nn.LSTM(4, 3, batch_first=True)
    if kind == "weight_norm":
        return parametrizations.weight_norm(layer, "weight_hh_l0").double()
    prune.random_unstructured(layer, "weight_hh_l0", 0.3)
    return layer.double()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.below, self.attention = nn.Linear(4, 4), nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.below(x)
        return self.attention(x, x, x, need_weights=False)[0]


def test_a_projection_of_attention_may_be_computed():
    torch.manual_seed(0)
    net = Attention().double()
    parametrizations.weight_norm(net.attention, "in_proj_weight")
    parametrizations.orthogonal(net.attention.out_proj)
    other, x = copy.deepcopy(net), torch.randn(2, 3, 4, dtype=torch.float64)
    taught = taught_pass(net, x, same_as_weights(net))
    assert_same(taught, plain_pass(other, x))
    assert not torch.equal(taught_pass(net, x, random_feedback(net)).input_gradient, taught.input_gradient)


class Own(nn.Module):
    """A matrix by another name, in a layer of one's own that uses it three times, and may compute it once."""

    def __init__(self, cached: bool) -> None:
        super().__init__()
        self.cached, self.W = cached, nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        with parametrize.cached() if self.cached else contextlib.nullcontext():
            for _ in range(3):
                x = torch.tanh(F.linear(x, self.W))
            return x


@pytest.mark.parametrize("kind", ["weight_norm", "pruning"])
def test_a_matrix_of_a_recurrent_layer_may_be_computed(kind):
    net, other = recurrent(kind), recurrent(kind)
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    assert set(taught_weights(net)) == {"weight_ih_l0", "weight_hh_l0"}
    with feedback_path(net, same_as_weights(net)) as path:
        output = path.forward(net, x, look=True)
    path.check(output)
    for one, result in ((net, output), (other, other(x))):
        one.zero_grad()
        result[0].square().sum().backward()
    for (name, got), expected in zip(net.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.parametrize("cached", [False, True])
def test_a_matrix_by_any_name_may_be_parametrised_and_used_several_times(cached, monkeypatch):
    torch.manual_seed(0)
    net, x, draws = Own(cached).double(), torch.randn(3, 4, dtype=torch.float64), []
    parametrizations.weight_norm(net, "W")
    assert list(taught_weights(net)) == ["W"]
    assert_same(taught_pass(net, x, same_as_weights(net)), plain_pass(copy.deepcopy(net), x))
    draw = sign_concordant.draw_like
    monkeypatch.setattr(sign_concordant, "draw_like", lambda *args: (draws.append(args), draw(*args))[1])
    biograd.BatchwiseRandomSignConcordant(net).assign_credit(net, x, torch.zeros(3, 4).double(), F.mse_loss)
    assert len(draws) == 1  # one B a batch, however often the weight is computed


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["spectral_norm", "pruning", "a sum with a low-rank part"])
def test_a_rule_has_feedback_for_it_teaches_all_its_parts_and_leaves_no_trace(rule, kind):
    net = mlp(kind)
    made = biograd.rules.create(rule, net)
    assert {name: tuple(B.shape) for name, B in made.feedback_matrices(net).items()}["2.weight"] == (6, 6)
    hooks = [dict(module._forward_pre_hooks) for module in net.modules()]
    for _ in range(2):
        credit = made.assign_credit(net, X, Y, F.cross_entropy)
    assert all(p.grad.any() for p in net.parameters() if p.requires_grad)
    assert hooks == [dict(module._forward_pre_hooks) for module in net.modules()]
    assert not any(module._forward_hooks for module in net.modules())
    if kind != "spectral_norm":  # whose vectors move
        assert torch.equal(credit.output, net(X).detach())
    with pytest.raises(RuntimeError):
        made.assign_credit(net, X[:, :2], Y, F.cross_entropy)
    assert hooks == [dict(module._forward_pre_hooks) for module in net.modules()]
    assert not any(module._forward_hooks for module in net.modules())


def test_asking_for_it_changes_neither_buffers_nor_random_numbers_nor_what_hooks_left():
    for kind in COMPUTED:
        net = mlp(kind)
        before, kept = copy.deepcopy(dict(net.named_buffers())), net[2].__dict__.get("weight")
        state = torch.get_rng_state()
        taught_weights(net)
        assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers()), kind
        assert torch.equal(state, torch.get_rng_state())
        assert net[2].__dict__.get("weight") is kept


def test_the_mirror_of_wm_learns_the_weight_that_is_computed():
    net = mlp("pruning")
    rule = biograd.rules.create("wm", net, mirror_rate=0.2, mirror_decay=0.2)
    for _ in range(60):
        rule.assign_credit(net, X.repeat(30, 1), Y.repeat(30), F.cross_entropy)
    angles = feedback_angles(net, rule)
    assert angles["2.weight"] < 15
    assert feedback_angles(net, biograd.FeedbackAlignment(net))["2.weight"] > 45


def test_the_follower_of_kp_gets_the_derivative_by_the_weight_that_is_computed():
    net = mlp("weight_norm")
    rule: Any = biograd.KolenPollack(net)
    rule.assign_credit(net, X, Y, F.cross_entropy)
    g, v = (net[2].get_submodule("parametrizations.weight").get_parameter(f"original{n}") for n in (0, 1))
    direction = v.detach() / v.detach().norm(dim=1, keepdim=True)
    expected = (rule.B["2.weight"].grad * direction).sum(1, keepdim=True)
    torch.testing.assert_close(g.grad, expected, rtol=1e-12, atol=1e-14)
    optimizer = torch.optim.AdamW([*net.parameters(), *rule.parameters()], weight_decay=1.0)
    assert rule.check_optimizer(optimizer, 1e6) == [
        "kp: '2.weight' is computed of parameters that take steps of their own, so that B need not align with it: "
        "look at the feedback angle"
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_net_computes_it_in_sight():
    torch._dynamo.reset()
    net, other = mlp("weight_norm"), mlp("weight_norm")
    compiled = torch.compile(net, backend="aot_eager")
    rules = [biograd.BatchwiseRandomSignConcordant(one) for one in (net, other)]
    for _ in range(2):  # the first look is eager
        rules[0].assign_credit(compiled, X, Y, F.cross_entropy)
        rules[1].assign_credit(other, X, Y, F.cross_entropy)
    for (name, one), two in zip(net.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-12, atol=1e-14, msg=name)


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize("is_frozen", [False, True], ids=["free", "frozen"])
def test_it_is_exact_by_its_own_name_by_its_layers_and_by_those_of_all_its_parts(kind, is_frozen):
    net = mlp(kind)
    net[2].requires_grad_(not is_frozen)
    parts = tuple(f"2.{name}" for name, _ in net[2].named_parameters() if name != "bias")
    for exact in (("2.weight",), ("2",), parts):
        assert set(taught_weights(net, exact)) == {"0.weight", "4.weight"}
        B = same_as_weights(net, exact)
        torch.manual_seed(3)
        taught = taught_pass(net, X, B, exact=exact)
        torch.manual_seed(3)
        if kind not in ("spectral_norm", "the older spectral_norm"):  # whose vectors have moved
            assert_same(taught, plain_pass(net, X))
        biograd.FeedbackAlignment(net, exact=exact).assign_credit(net, X, Y, F.cross_entropy)
        net.zero_grad()


def test_a_part_that_is_used_otherwise_and_the_weight_in_another_product_are_refused():
    net = mlp("the older weight_norm")
    forward = nn.Sequential.forward

    def using(use):
        net.forward = lambda x: use(forward(net[:3], x))
        return biograd.FeedbackAlignment(net)

    for use, message in (
        (lambda h: torch.einsum("ni,oi->no", h, net[2].weight_v), "'2.weight_v' is used by einsum"),
        (lambda h: F.linear(h, net[2].weight_v), r"'2.weight_v' is used by linear"),
        (lambda h: torch.einsum("ni,oi->no", h, net[2].weight), "'2.weight' is used by einsum"),
    ):
        rule = using(use)
        with pytest.raises(UnsupportedNet, match=message):
            rule.assign_credit(net, X, torch.zeros(4, 6).double(), F.mse_loss)
        assert all(parameter.grad is None for parameter in net.parameters())


def test_a_table_or_a_norm_may_be_computed_and_stays_exact():
    torch.manual_seed(0)
    table, norm = parametrizations.spectral_norm(nn.Embedding(7, 5)), nn.LayerNorm((2, 5))
    parametrize.register_parametrization(norm, "weight", Squashed())
    net: Any = (
        nn.Sequential(table, norm, prune.random_unstructured(nn.Linear(5, 3), "bias", 1)).double().eval()
    )
    tokens = torch.tensor([[1, 4], [0, 2]])
    B = same_as_weights(net)
    assert set(B) == {"2.weight"}
    with feedback_path(net, B) as path:
        output = path.forward(net, tokens, look=True)
    path.check(output)
    output.square().sum().backward()
    got = {name: parameter.grad for name, parameter in net.named_parameters()}
    net.zero_grad()
    net(tokens).square().sum().backward()
    expected = {name: parameter.grad for name, parameter in net.named_parameters()}
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    net[2].forward = lambda x: x @ table.weight[:5, :5]
    with pytest.raises(UnsupportedNet, match=r"'0\.weight' is used by"), feedback_path(net, B) as path:
        path.forward(net, tokens, look=True)


class ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.below, self.W = nn.Linear(5, 5), nn.Parameter(torch.randn(3, 5))
        self.A, self.B = nn.Parameter(torch.randn(3, 1)), nn.Parameter(torch.randn(1, 5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.below(x), self.W + self.A @ self.B)


def test_a_sum_that_the_forward_computes_is_refused_and_told_what_would_do():
    net = ByHand().double()
    with pytest.raises(
        UnsupportedNet, match=r"'W' is used by linear in a form that the forward computes \(in a para"
    ):
        biograd.FeedbackAlignment(net).assign_credit(net, X, Y, F.cross_entropy)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_hook_that_is_not_known_is_refused_by_name_when_the_rule_is_made():
    net: Any = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), hooked(), nn.Linear(4, 3)).double()
    with pytest.raises(
        UnsupportedNet, match=r"'2' \(Linear\): a hook that is not known computes its weight; reg"
    ):
        biograd.FeedbackAlignment(net)
    biograd.FeedbackAlignment(net, exact=("2",)).assign_credit(net, X, Y, F.cross_entropy)


def test_a_net_whose_weight_is_computed_since_is_another_net():
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    rule = biograd.FeedbackAlignment(net)
    parametrizations.weight_norm(net[0])
    with pytest.raises(UnsupportedNet, match=r"another net: '0\.weight' had .* no such parameter"):
        rule.assign_credit(net, X, Y, F.cross_entropy)
