"""Gait-prop through blocks that are no one layer: every weight inside has an inverse, all else is exact."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from biograd import UnsupportedNet, UserMistake, rules
from biograd.credit.back.inverses import KeptInverse
from biograd.errors import NotFinite
from biograd.testing.snapshots import Traces
from tests.credit.cut_nets import CUTS, Steps, Tokens, Unit, task
from tests.rules.small import assert_same


def gradients(rule, net, x, y):
    net.zero_grad()
    torch.manual_seed(7)
    rule.assign_credit(net, x, y, F.cross_entropy)
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def tokens():
    torch.manual_seed(0)
    return task(Tokens(), 4, 5)


def made(steps, *shape, **parts):
    """A net of three blocks over a batch, one of which is no one layer."""
    return (*task(Steps(steps, **parts), *shape), {"blocks": ("stem", "body", "head")})


def over_tokens(body):
    """A block of eight features between two layers."""
    parts = {"stem": nn.Linear(5, 8), "body": body, "head": nn.Linear(8, 3)}
    return made(lambda m, x: m.head(m.body(torch.tanh(m.stem(x))).mean(1)), 4, 5, **parts)


def encoder_layer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True, norm_first=True)
    return over_tokens(layer)


def cross_attention():
    """Queries, keys and values of three sources, so that the packed weight is used in parts."""

    def body(m, h):
        return m.attention(m.q(h), h, 2 * h)[0]

    body = Steps(body, attention=nn.MultiheadAttention(8, 2, batch_first=True), q=nn.Linear(8, 8))
    return over_tokens(body)


def recurrent(kind):
    body = Steps(lambda m, x: m.layer(x)[0], layer=kind(8, 8, batch_first=True))
    return over_tokens(body)


def products():
    """Weights in no layer, one of them used twice, a stack of them, and a fixed matrix."""

    def body(m, h):
        h = torch.tanh(h @ m.W) @ m.fixed + m.offset
        return h + torch.bmm((m.W @ h.mT).mT.transpose(0, 1), m.stack).transpose(0, 1)

    body = Steps(body)
    body.W, body.stack = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(4, 8, 8))
    body.offset = nn.Parameter(torch.randn(1, 4, 8))
    body.register_buffer("fixed", torch.randn(8, 8))
    return over_tokens(body)


def convolutions():
    """Padding that goes around, groups, and a nonlinearity that overwrites its input."""
    parts = {"a": nn.Conv2d(4, 4, 1, groups=2), "norm": nn.BatchNorm2d(4)}
    b = nn.Conv2d(4, 4, (1, 2), stride=(1, 2), padding=(0, 2), padding_mode="circular")
    body = Steps(lambda m, x: F.relu_(m.b(F.relu(x + m.norm(m.a(x))))), b=b, **parts)
    return made(
        lambda m, x: m.head(m.body(torch.tanh(m.stem(x))).mean((2, 3))),
        *(2, 4, 4),
        **{"stem": nn.Conv2d(2, 4, 1), "body": body, "head": nn.Linear(4, 3)},
    )


def computed():
    """A weight that is computed, and a norm that learns before a layer."""
    body = nn.Sequential(parametrizations.orthogonal(nn.Linear(8, 8, dtype=torch.float64)), nn.Tanh())
    return made(
        lambda m, x: m.head(m.norm(m.body(torch.tanh(m.stem(x))))),
        5,
        **{"stem": nn.Linear(5, 8), "body": body, "norm": nn.LayerNorm(8), "head": nn.Linear(8, 3)},
    )


def skip_around_the_head():
    return made(
        lambda m, x: (h := m.body(torch.tanh(m.stem(x)))) + m.head(h),
        5,
        **{"stem": nn.Linear(5, 3), "body": nn.Linear(3, 3), "head": nn.Linear(3, 3)},
    )


def chain():
    """A residual unit in an ``nn.Sequential``, in which errors pass exactly as the user says."""
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), Unit(6), nn.ReLU(inplace=True), nn.Linear(6, 3))
    return (*task(net, 5), {"inside": "exact"})


NETS = {
    "an encoder layer": encoder_layer,
    "attention across": cross_attention,
    "LSTM": lambda: recurrent(nn.LSTM),
    "GRU": lambda: recurrent(nn.GRU),
    "products": products,
    "convolutions": convolutions,
    "computed": computed,
    "a skip around the head": skip_around_the_head,
    "a chain": chain,
}
STACKED = {"in_proj_weight": 8, "weight_ih_l0": 8, "weight_hh_l0": 8}


@torch.no_grad()
def make_orthogonal(net):
    """Every matrix, one by one where several lie in one parameter."""
    for name, p in net.named_parameters():
        if name.endswith("stack"):
            for matrix in p:
                nn.init.orthogonal_(matrix)
        elif p.dim() >= 2 and not name.endswith("offset"):
            attribute = name.rpartition(".")[2]
            groups = 2 if name == "body.a.weight" and p.dim() == 4 else 1
            for part in p.split(STACKED.get(attribute, len(p) // groups)):
                nn.init.orthogonal_(part)


@pytest.mark.parametrize("inverse", ["exact", "kept"])
@pytest.mark.parametrize("name", NETS)
def test_where_weights_are_orthogonal_it_is_backpropagation(name, inverse):
    torch.manual_seed(0)
    net, x, y, settings = NETS[name]()
    make_orthogonal(net)
    expected = gradients(rules.create("bp", net), net, x, y)
    rule = rules.create("gait-prop", net, sample=x[:1], inverse=inverse, **settings)
    for _ in range(2):
        assert_same(gradients(rule, net, x, y), expected, 1e-12)


def pinv(weight: Tensor) -> Tensor:
    """The transpose of W⁺, in the layout of a weight."""
    return torch.from_numpy(np.linalg.pinv(weight.detach().numpy()).T.copy())


class Through(torch.autograd.Function):
    """``x Wᵀ + b`` whose error goes back by ``e B``."""

    @staticmethod
    def forward(ctx, x, W, b, B):
        ctx.save_for_backward(B)
        return F.linear(x, W, b)

    @staticmethod
    def backward(ctx, grad):
        return grad @ ctx.saved_tensors[0], None, None, None


def through(layer, x):
    return Through.apply(x, layer.weight, layer.bias, pinv(layer.weight))


def taught_by_hand(net, inner, x, y):
    """The blocks of `Tokens`, whose errors pass ``inner(layer, h)`` in place of each layer, and teach it exactly."""
    h0 = net.embed(x)
    h1 = net.layers[0](h0.detach() + net.positions)
    h2 = net.layers[1](h1.detach())
    loss = F.cross_entropy(net.head(net.norm(h2.detach()).mean(1)), y)
    leaf = h2.detach().requires_grad_()
    output = through(net.head, net.norm(leaf).mean(1))
    (e2,) = torch.autograd.grad(F.cross_entropy(output, y), leaf)
    found = [e2]
    for layer, h in ((net.layers[1], h1), (net.layers[0], h0 + net.positions)):
        leaf = h.detach().requires_grad_()
        found.append(torch.autograd.grad(inner(layer, leaf), leaf, found[-1])[0])
    torch.autograd.backward([h0, h1, h2, loss], [*found[::-1], None])
    return {name: p.grad.clone() for name, p in net.named_parameters()}


def unit(layer, h):
    return h + through(layer.b, torch.tanh(through(layer.a, layer.norm(h))))


def attention(layer, h):
    """An encoder layer, its norms first."""
    inner = layer.self_attn
    z = layer.norm1(h)
    parts = zip(inner.in_proj_weight.chunk(3), inner.in_proj_bias.chunk(3), strict=True)
    q, k, v = (Through.apply(z, W, b, pinv(W)).unflatten(2, (2, 3)).transpose(1, 2) for W, b in parts)
    mixed = torch.softmax(q @ k.mT / 3**0.5, -1) @ v
    h = h + through(inner.out_proj, mixed.transpose(1, 2).flatten(2))
    return h + through(layer.linear2, F.relu(through(layer.linear1, layer.norm2(h))))


def attending():
    net, x, y = tokens()
    torch.manual_seed(3)
    layer = nn.TransformerEncoderLayer(6, 2, 9, dropout=0.0, batch_first=True, norm_first=True)
    net.layers = nn.ModuleList([layer, copy.deepcopy(layer)]).double()
    return net, x, y


@pytest.mark.parametrize("inverse", ["exact", "kept"])
@pytest.mark.parametrize(("make", "inner"), [(tokens, unit), (attending, attention)])
def test_errors_pass_a_block_through_pseudo_inverses_and_teach_it_exactly(make, inner, inverse):
    net, x, y = make()
    rule = rules.create("gait-prop", net, sample=x[:1], blocks=CUTS, inverse=inverse)
    got = gradients(rule, net, x, y)
    net.zero_grad()
    expected = taught_by_hand(net, inner, x, y)
    scale = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-9, atol=1e-12 * scale, msg=name)


def test_a_kept_inverse_follows_weights_that_move_and_a_state_goes_on_with_the_same_bits():
    net, x, y = attending()
    kept = {"inverse": "kept", "inverse.tolerance": 1e-8}
    rule = rules.create("gait-prop", net, sample=x[:1], blocks=CUTS, **kept)
    exact = rules.create("gait-prop", net, sample=x[:1], blocks=CUTS, inverse="exact")
    optimizer, ages = torch.optim.SGD(net.parameters(), lr=1e-3), []
    inside = [part for part in rule.modules() if isinstance(part, KeptInverse)]
    assert len(inside) == 4  # the square ones, three of which lie in one parameter
    for _ in range(5):
        expected = gradients(exact, net, x, y)
        got = gradients(rule, net, x, y)
        assert_same(got, expected, 1e-5)
        ages.append(int(inside[0].age))
        optimizer.step()
    assert max(ages) > 0
    other = rules.create("gait-prop", net, sample=x[:1], blocks=CUTS, **kept)
    other.load_state_dict(rule.state_dict())
    assert_same(gradients(other, net, x, y), gradients(rule, net, x, y))


def test_learned_inverses_learn_to_undo_the_weights_that_they_stand_for():
    net, x, y = tokens()
    rule = rules.create("gait-prop", net, sample=x[:1], blocks=CUTS, inverse="learned")
    weights = rule.inverse_weights(net)
    inside = [f"layers.{place}.{name}.weight" for place in range(2) for name in "ab"]
    assert list(weights) == [*inside, "head.weight"]
    optimizer = torch.optim.Adam(rule.parameters(), lr=0.05)

    def missing():
        pairs = [(W, X.detach()) for W, X in zip(weights.values(), rule.parameters(), strict=True)]
        return max(float((W @ X @ W - W).norm() / W.norm()) for W, X in pairs)

    start = missing()
    for _ in range(100):
        optimizer.zero_grad()
        rule.assign_credit(net, x, y, F.cross_entropy)
        optimizer.step()
    assert missing() < 0.2 < start


def test_nothing_is_left_behind_and_a_copy_teaches_the_same():
    net, x, y = attending()
    rule = rules.create("gait-prop", net, sample=x[:1], blocks=CUTS)
    expected = gradients(rule, net, x, y)
    net.zero_grad()
    traces, state = Traces(net), copy.deepcopy(rule.state_dict())
    shown = rule.targets(net, x, y, F.cross_entropy)
    assert list(shown) == ["embed", "layers.0", "layers.1"]
    assert rule.input_gradient(net, x, y, F.cross_entropy).shape == x.shape
    assert not traces.found()
    assert all(torch.equal(value, state[key]) for key, value in rule.state_dict().items())
    assert_same(gradients(copy.deepcopy(rule), net, x, y), gradients(rule, net, x, y))
    net.layers[1].requires_grad_(False)
    frozen = gradients(rule, net, x, y)
    assert_same(frozen, {name: g for name, g in expected.items() if "layers.1" not in name}, 1e-12)


def test_names_in_exact_carry_errors_as_the_derivative_does():
    net, x, y = tokens()
    make_orthogonal(net)
    with torch.no_grad():
        net.layers[1].a.weight.mul_(3)
    expected = gradients(rules.create("bp", net), net, x, y)
    rule = rules.create("gait-prop", net, sample=x[:1], blocks=CUTS, exact=["layers.1.a"])
    assert_same(gradients(rule, net, x, y), expected, 1e-12)
    other = gradients(rules.create("gait-prop", net, sample=x[:1], blocks=CUTS), net, x, y)
    assert not torch.allclose(other["embed.weight"], expected["embed.weight"])
    every = rules.create("gait-prop", net, sample=x[:1], blocks=CUTS, exact=["layers.*", "head"])
    assert_same(gradients(every, net, x, y), expected, 1e-12)
    plain = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    with pytest.raises(UserMistake, match=r"exact names '2'.*of which the net has none"):
        rules.create("gait-prop", plain, exact=["2"])


def test_under_autocast_errors_pass_too():
    net, x, y = attending()
    net, x = net.float(), x.float()
    rule = rules.create("gait-prop", net, sample=x[:1], blocks=CUTS)
    expected = gradients(rule, net, x, y)
    with torch.autocast("cpu", torch.bfloat16):
        got = gradients(rule, net, x, y)
    for name in ("layers.1.linear1.weight", "head.weight"):
        assert F.cosine_similarity(got[name].flatten(), expected[name].flatten(), 0) > 0.95


def used_by(function):
    body = Steps(function, a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    return Steps(
        lambda m, x: m.head(m.body(m.stem(x))), stem=nn.Linear(4, 4), body=body, head=nn.Linear(4, 3)
    )


REFUSED = {
    "'body.a' is a ConvTranspose1d, whose inverse is not known": lambda: Steps(
        lambda m, x: m.head(m.body(m.stem(x))),
        stem=nn.Linear(4, 4),
        body=Steps(lambda m, x: m.b(m.a(x[:, None])[:, 0]), a=nn.ConvTranspose1d(1, 1, 1), b=nn.Linear(4, 4)),
        head=nn.Linear(4, 3),
    ),
    "'body.a.weight' is used by einsum": lambda: used_by(
        lambda m, x: m.b(torch.einsum("bi,oi->bo", x, m.a.weight))
    ),
    "feedback weights cannot reach 'body.a'": lambda: Steps(
        lambda m, x: m.head(m.body(m.stem(x))),
        stem=nn.Linear(4, 4),
        body=Steps(lambda m, x: m.b(m.a(x, x)), a=nn.Bilinear(4, 4, 4), b=nn.Linear(4, 4)),
        head=nn.Linear(4, 3),
    ),
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_has_no_inverse_inside_is_refused_in_one_line_when_the_rule_is_made(line):
    net, x, _ = task(REFUSED[line](), 4)
    with pytest.raises(UnsupportedNet, match=line) as caught:
        rules.create("gait-prop", net, sample=x[:1], blocks=("stem", "body", "head"))
    assert "\n" not in str(caught.value)


def test_all_columns_want_square_matrices_inside_too():
    net, x, _ = tokens()
    with pytest.raises(UnsupportedNet, match=r"'layers.0.a.weight' takes 6 numbers to 12.*take used"):
        rules.create(
            "gait-prop", net, sample=x[:1], blocks=CUTS, form={"name": "linearised", "columns": "all"}
        )


def test_a_singular_weight_inside_is_named_and_nothing_is_filled():
    net, x, y = tokens()
    rule = rules.create("gait-prop", net, sample=x[:1], blocks=CUTS)
    with torch.no_grad():
        net.layers[0].b.weight.zero_()
    with pytest.raises(NotFinite, match=r"weight of 'layers.0.b.weight' is singular"):
        rule.assign_credit(net, x, y, F.cross_entropy)
    assert all(p.grad is None for p in net.parameters())


def test_where_reading_would_wait_an_error_that_is_not_finite_is_told_one_call_later(monkeypatch):
    monkeypatch.setattr("biograd.credit.late.is_read_at_once", lambda device: False)
    net, x, y, settings = products()
    rule = rules.create("gait-prop", net, sample=x[:1], inverse="exact", **settings)

    def call(number):
        rule.assign_credit(net, x, y, lambda output, y: F.cross_entropy(output, y) * number)

    call(float("nan"))
    for name in ("head", "body"):  # each says it at its next call
        with pytest.raises(NotFinite, match=f"'{name}'"):
            call(1.0)
    call(1.0)
