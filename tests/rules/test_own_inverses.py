"""Modules that undo themselves: targets and errors go back through their own inverse."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import UnsupportedNet, UserMistake, rules
from tests.credit.cut_nets import Steps, task
from tests.rules.small import assert_same
from tests.rules.test_whole_blocks import gradients


class Coupling(nn.Module):
    """``(a, b + m(a))``, then ``(a + n(b), b)``: several weights, and an inverse without one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.m, self.n = (nn.Sequential(nn.Linear(width // 2, width // 2), nn.Tanh()) for _ in range(2))

    def forward(self, x):
        a, b = x.chunk(2, -1)
        b = b + self.m(a)
        return torch.cat([a + self.n(b), b], -1)

    def inverse(self, y):
        a, b = y.chunk(2, -1)
        a = a - self.n(b)
        return torch.cat([a, b - self.m(a)], -1)


class Turn(nn.Module):
    """Multiplies by an orthogonal matrix."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.Q = nn.Parameter(nn.init.orthogonal_(torch.empty(width, width, dtype=torch.float64)))

    def forward(self, x):
        return x @ self.Q

    def inverse(self, y):
        return y @ self.Q.mT


def net_around(inner):
    torch.manual_seed(0)
    head = nn.Linear(6, 6, dtype=torch.float64)
    nn.init.orthogonal_(head.weight)
    net = nn.Sequential(nn.Linear(5, 6), nn.LeakyReLU(0.5), inner, nn.LeakyReLU(0.5), head)
    return (*task(net, 5), {"inside": "exact", "undo": "inverse"})


FORMS = [
    ("tp", {}),
    ("itp", {}),
    ("itp", {"form": "constant"}),
    ("gait-prop", {}),
    ("gait-prop", {"form": "constant"}),
    ("gait-prop", {"form": "adaptive"}),
]


@pytest.mark.parametrize(("name", "settings"), FORMS, ids=str)
def test_signals_go_back_through_the_modules_own_inverse(name, settings):
    """By its Jacobian: of the linearised forms, and of small steps to a part in a thousand."""
    net, x, y, undo = net_around(Coupling(6))
    got = gradients(rules.create(name, net, **settings, **undo), net, x, y)
    net.zero_grad()
    z1 = net[0](x)
    h1 = net[1](z1)
    z2 = net[2](h1.detach())
    h2 = net[3](z2)
    output = net[4](h2.detach())
    loss = F.cross_entropy(output, y)
    (e3,) = torch.autograd.grad(loss, output, retain_graph=True)
    W, slope, n = net[4].weight.detach(), torch.where(z2 > 0, 1.0, 0.5).detach(), len(x)
    e2 = e3 @ W  # orthogonal
    if name == "tp":
        t1 = net[2].inverse((h2 - e2 * n / 2) / torch.where(h2 - e2 * n / 2 > 0, 1.0, 0.5))
        e1 = 2 / n * (h1 - t1).detach()
    else:
        delta = e2 * slope if name == "gait-prop" else e2 / slope
        J = [torch.autograd.functional.jacobian(net[2], row) for row in h1.detach()]
        e1 = torch.stack([torch.linalg.solve(j, d) for j, d in zip(J, delta, strict=True)])
    torch.autograd.backward([h1, h2, loss], [e1, e2, None])
    expected = {key: p.grad for key, p in net.named_parameters()}
    assert_same(got, expected, 1e-2 if settings.get("form") == "constant" else 1e-5 if settings else 1e-10)


def test_where_what_undoes_is_orthogonal_gait_prop_is_backpropagation_and_in_linear_nets_all_are():
    net, x, y, _ = net_around(Turn(6))
    expected = gradients(rules.create("bp", net), net, x, y)
    rule = rules.create("gait-prop", net, inside="exact", undo="inverse")
    assert_same(gradients(rule, net, x, y), expected, 1e-12)
    linear = nn.Sequential(net[0], net[2], net[4])
    expected = gradients(rules.create("bp", linear), linear, x, y)
    for name in ("tp", "itp", "gait-prop"):
        rule = rules.create(name, linear, sample=x[:1], blocks=("0", "1", "2"), undo="inverse")
        assert_same(gradients(rule, linear, x, y), expected, 1e-9)


@pytest.mark.parametrize(("name", "settings"), FORMS, ids=str)
def test_a_method_that_does_not_undo_is_refused_at_the_first_call(name, settings):
    net, x, y, undo = net_around(Coupling(6))
    rule = rules.create(name, net, **settings, **undo)
    net[2].inverse = lambda y: 1.001 * Coupling.inverse(net[2], y)
    with pytest.raises(UnsupportedNet, match=r"'inverse' of '2' gives its input back with an error of 1e-03"):
        rule.assign_credit(net, x, y, F.cross_entropy)
    net[2].inverse = lambda y: y[:, :3]
    with pytest.raises(UnsupportedNet, match=r"gives \(6, 3\) for its output, and its input was \(6, 6\)"):
        rule.assign_credit(net, x, y, F.cross_entropy)
    net[2].inverse = lambda y: (y, y)
    with pytest.raises(UnsupportedNet, match=r"gives a tuple with tensors .* for its output"):
        rule.assign_credit(net, x, y, F.cross_entropy)
    assert all(p.grad is None for p in net.parameters())


@torch.no_grad()
def without_a_graph(module, y):
    return Coupling.inverse(module, y)


def with_half_a_graph(module, y):
    """As a fixed point is left that was found without recording gradients."""
    return without_a_graph(module, y) + y - y.detach()


@pytest.mark.parametrize("name", ["itp", "gait-prop"])
@pytest.mark.parametrize("inverse", [without_a_graph, with_half_a_graph])
def test_a_method_whose_derivative_is_no_inverse_is_refused_where_errors_go_back_through_that(name, inverse):
    net, x, y, undo = net_around(Coupling(6))
    rule = rules.create(name, net, **undo)
    net[2].inverse = lambda y: inverse(net[2], y)
    with pytest.raises(UnsupportedNet, match="its derivative is not that of an inverse"):
        rule.assign_credit(net, x, y, F.cross_entropy)
    assert all(p.grad is None for p in net.parameters())
    rules.create("tp", net, **undo).assign_credit(net, x, y, F.cross_entropy)  # which sends targets alone


@pytest.mark.parametrize("name", ["tp", "itp", "gait-prop"])
def test_under_autocast_a_module_undoes_itself_in_the_precision_of_its_weights(name):
    net, x, y, undo = net_around(Coupling(6))
    net, x = net.float(), x.float()
    expected = gradients(rules.create(name, net, **undo), net, x, y)
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        got = gradients(rules.create(name, net, **undo), net, x, y)
    for key, gradient in got.items():
        assert gradient.dtype == torch.float32
        assert (gradient - expected[key]).norm() < 0.1 * expected[key].norm()


def test_a_method_may_overwrite_what_it_is_given():
    net, x, y, undo = net_around(Turn(6))
    expected = gradients(rules.create("tp", net, **undo), net, x, y)
    net[2].inverse = lambda y: y.copy_(y @ net[2].Q.detach().mT)
    net.zero_grad()
    assert_same(gradients(rules.create("tp", net, **undo), net, x, y), expected, 1e-12)


def test_a_method_that_nothing_has_is_a_mistake():
    net, *_ = net_around(Coupling(6))
    for name in ("tp", "itp", "gait-prop"):
        with pytest.raises(UserMistake, match=r"undo names the method 'undone', and no block") as caught:
            rules.create(name, net[::2][:1].append(nn.Linear(6, 6)), undo="undone")
        assert "\n" not in str(caught.value)


class Scaled(Turn):
    """Is told by how much, too."""

    def forward(self, x, scale=1.0):
        return scale * super().forward(x)


class AroundOneLayer(nn.Module):
    """A layer through which all passes, and a nonlinearity."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6, bias=False)

    def forward(self, x):
        return torch.tanh(self.layer(x))

    def inverse(self, y):
        return torch.linalg.solve(self.layer.weight.T, torch.atanh(y), left=False)


CUTS = ("stem", "lower", "middle", "body")


def between(function, **parts):
    """Modules that undo themselves, the last of them in a net that may do something else around it."""
    parts = {"stem": nn.Linear(5, 6), "lower": Coupling(6), "middle": Coupling(6), "body": Turn(6), **parts}
    return task(Steps(lambda m, x: function(m, m.lower(m.stem(x))), **parts), 5)


FUNCTION = "there is a function before it or a further argument of its call too"
IN_THE_WAY = {
    "a function before it": (lambda: between(lambda m, h: m.body(torch.tanh(m.middle(h)))), FUNCTION),
    "one that overwrites": (lambda: between(lambda m, h: m.body(m.middle(h).tanh_())), FUNCTION),
    "an argument": (lambda: between(lambda m, h: m.body(m.middle(h), 2.0), body=Scaled(6)), FUNCTION),
    "a function behind it": (
        lambda: between(lambda m, h: 2 * m.body(m.middle(h))),
        "a function behind it too",
    ),
    "a module": (
        lambda: between(lambda m, h: m.body(m.norm(m.middle(h))), norm=nn.LayerNorm(6)),
        r"there is 'norm' \(LayerNorm\) too",
    ),
    "a layer inside": (
        lambda: between(lambda m, h: m.body(m.middle(h)), body=AroundOneLayer()),
        "its block opens at the one layer inside it, 'body.layer'",
    ),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_a_module_with_the_method_is_refused_where_its_block_does_not_go_back_by_it(case):
    make, line = IN_THE_WAY[case]
    net, x, _ = make()
    for name, settings in FORMS:
        with pytest.raises(UnsupportedNet, match=f"'body' has the method 'inverse'.*{line}"):
            rules.create(name, net, **settings, sample=x[:1], blocks=CUTS, undo="inverse")


@pytest.mark.parametrize(("name", "settings"), FORMS, ids=str)
def test_a_rule_that_needs_the_method_proposes_it_and_none_takes_a_name_that_nothing_has(name, settings):
    chain, _, _, _ = net_around(Coupling(6))
    cut, x, _ = between(lambda m, h: m.body(m.middle(h)))
    for net, given in (
        (chain, {"inside": "exact"}),
        (cut, {"sample": x[:1], "blocks": CUTS}),
    ):
        with pytest.raises(UserMistake, match="undo names the method 'invers', and no block"):
            rules.create(name, net, **settings, **given, undo="invers")
        if name == "gait-prop" and not settings:  # which has an inverse for each weight inside
            continue
        with pytest.raises(UnsupportedNet, match=r"has a method 'inverse': .* write undo='inverse'"):
            rules.create(name, net, **settings, **given)
