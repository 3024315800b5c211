"""Rules at cut points: what each teaches a net that is no chain, beside a plain program and beside the same chain."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import UnsupportedNet, rules
from tests.credit.cut_nets import CUTS, Steps, Tokens, linear, task
from tests.rules.small import assert_same

EXACT = {"rtol": 0, "atol": 1e-12}


def gradients(rule, net, x, y, loss_fn=F.cross_entropy):
    net.zero_grad()
    rule.assign_credit(net, x, y, loss_fn)
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def tokens():
    torch.manual_seed(0)
    return task(Tokens(), 4, 5)


def test_dfa_gives_each_block_its_own_projection_and_backpropagates_inside():
    net, x, y = tokens()
    rule = rules.create("dfa", net, sample=x[:1], blocks=CUTS, form="full")
    found = gradients(rule, net, x, y)
    # a plain program: every block on a detached input
    plain = copy.deepcopy(net)
    plain.zero_grad()
    h0 = plain.embed(x)
    h1 = plain.layers[0](h0.detach() + plain.positions)
    h2 = plain.layers[1](h1.detach())
    output = plain.head(plain.norm(h2.detach()).mean(1))
    loss = F.cross_entropy(output, y)
    (e,) = torch.autograd.grad(loss, output, retain_graph=True)
    signals = [*rule.direct(e, [h0, h1, h2])][::-1]  # they come from the last hidden block down
    torch.autograd.backward([h0, h1, h2, loss], [*signals, None])
    assert_same(found, {name: p.grad for name, p in plain.named_parameters()})


def chain():
    torch.manual_seed(0)
    layers = (
        nn.Linear(5, 5),
        nn.Tanh(),
        nn.Linear(5, 5),
        nn.Tanh(),
        nn.Linear(5, 5),
        nn.Tanh(),
        nn.Linear(5, 3),
    )
    return nn.Sequential(*layers)


def own_forward(net):
    """The same layers in a forward of their own."""
    parts = {
        f"w{index}": layer for index, layer in enumerate(copy.deepcopy(net)) if isinstance(layer, nn.Linear)
    }

    def steps(net, x):
        for name in list(parts)[:-1]:
            x = net.act(getattr(net, name)(x)) if name == "w0" else torch.tanh(getattr(net, name)(x))
        return getattr(net, list(parts)[-1])(x)

    return Steps(steps, act=nn.Tanh(), **parts)


class Layer(nn.Module):
    """A linear layer and its tanh."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x):
        return torch.tanh(self.linear(x))


def layered(net):
    """The same layers, each with its tanh in a module of its own, and a view of them that is a list."""
    parts = [Layer(layer) for layer in copy.deepcopy(net) if isinstance(layer, nn.Linear)]
    last = parts.pop().linear
    return Steps(
        lambda net, x: net.last(net.c(net.b(net.a(x)))), **dict(zip("abc", parts, strict=True)), last=last
    )


def glued(net):
    """The same layers, of which each tanh is a module that is named: what is between them runs in the forward."""
    first, _, second, _, third, _, last = copy.deepcopy(net)
    parts = {
        "w0": first,
        "a": nn.Tanh(),
        "w1": second,
        "b": nn.Tanh(),
        "w2": third,
        "c": nn.Tanh(),
        "last": last,
    }
    return Steps(lambda net, x: net.last(net.c(net.w2(net.b(net.w1(net.a(net.w0(x))))))), **parts)


SETTINGS = {
    "dtp": {"decoder": "mlp"},
    "sdtp": {"decoder": "mlp"},
    "ao-sdtp": {"decoder": "mlp"},
    "drl": {"decoder": "mlp"},
    "l-drl": {"decoder": "mlp"},
    "gait-prop": {"inverse": "exact"},
}


@pytest.mark.parametrize("name", ["dfa", "drtp", "shallow", "ddtp-linear", *SETTINGS])
def test_a_net_cut_where_a_chain_is_cut_learns_what_the_chain_learns(name):
    net, x, y = task(chain(), 5)
    settings = SETTINGS.get(name, {})
    rule = rules.create(name, net, **settings)
    expected = list(gradients(rule, net, x, y).values())
    other = layered(net)
    taught = rules.create(name, other, sample=x[:1], blocks=("a", "b", "c", "last"), **settings)
    found = gradients(taught, other, x, y)
    for one, two in zip(expected, found.values(), strict=True):
        torch.testing.assert_close(two, one, **EXACT)
    for one, two in zip(rule.parameters(), taught.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, **EXACT)


def test_what_lies_between_named_modules_belongs_to_the_block_it_leads_to():
    """Decoders need blocks run alone on other inputs than the net's: the parts of the forward around them too."""
    net, x, y = task(chain(), 5)
    other = glued(net)
    with pytest.raises(UnsupportedNet, match=r"weights outside the named modules: 'w0.weight'"):
        rules.create("dtp", other, sample=x[:1], blocks=("a", "b", "c", "last"))
    net = Steps(
        lambda net, x: net.last(net.b(2 * torch.tanh(net.a(x)).flip(1)).mean(1)),
        **{"a": nn.Linear(5, 4), "b": nn.Linear(4, 4), "last": nn.Linear(4, 3)},
    )
    net, x, y = task(net, 6, 5)
    rule = rules.create("dtp", net, sample=x[:1], blocks=("a", "b", "last"), decoder="mlp", noise=0.3)
    found = gradients(rule, net, x, y)
    inner = nn.Sequential(
        Steps(lambda m, h: 2 * torch.tanh(h).flip(1), p=nn.Identity()), copy.deepcopy(net.b)
    )
    same = nn.Sequential(
        copy.deepcopy(net.a), inner, Steps(lambda m, h: m.last(h.mean(1)), last=copy.deepcopy(net.last))
    ).double()
    beside = rules.create("dtp", same, sample=x[:1], blocks=("0", "1", "2"), decoder="mlp", noise=0.3)
    expected = gradients(beside, same, x, y)
    assert len(expected) == len(found)
    for one, two in zip(expected.values(), found.values(), strict=True):
        torch.testing.assert_close(two, one, **EXACT)
    for one, two in zip(beside.parameters(), rule.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, **EXACT)


def test_gait_prop_finds_the_one_layer_of_a_block_wherever_it_is():
    net, x, _ = task(chain(), 5)
    other = layered(net)
    rule = rules.create("gait-prop", other, sample=x[:1], blocks=("a", "b", "c", "last"))
    assert list(rule.inverse_weights(other)) == ["b.linear.weight", "c.linear.weight", "last.weight"]


def test_itp_undoes_layers_alone_and_refuses_what_would_learn_between_a_cut_and_the_next_layer():
    def layer():
        return nn.Sequential(nn.LayerNorm(4), linear(), nn.LeakyReLU(0.3))

    net, x, y = task(nn.Sequential(layer(), layer(), linear()), 4)
    with pytest.raises(UnsupportedNet, match=r"'1.0.weight', '1.0.bias' between the blocks '0.1' and '1.1'"):
        rules.create("itp", net, sample=x[:1], blocks=("0", "1", "2"))
    net[1][0].requires_grad_(False)
    found = gradients(rules.create("itp", net, sample=x[:1], blocks=("0", "1", "2")), net, x, y)
    assert set(found) == {name for name, p in net.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["itp", "tp"])
def test_rules_that_undo_nonlinearities_say_which_block_hides_its_own(name):
    net, x, _ = task(layered(chain()), 5)
    with pytest.raises(
        UnsupportedNet,
        match=r"a target needs to know the layers of each block, and the block of '[ab].linear'",
    ):
        rules.create(name, net, sample=x[:1], blocks=("a", "b", "c", "last"))


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (lambda m, x: m.head(m.stem(2 * x)), r"'stem' \(Linear\) there is a function before it"),
        (lambda m, x: m.head(torch.tanh(m.stem(x))), r"'head' \(Linear\) there is a function before it"),
        (lambda m, x: m.head(m.f(m.stem(x))), r"'head' \(Linear\) there is 'f' \(Tanh\) too"),
        (lambda m, x: torch.tanh(m.head(m.stem(x))), r"'head' \(Linear\) there is a function behind it"),
    ],
    ids=["before the first", "before", "a module before", "behind"],
)
def test_what_runs_around_a_named_layer_is_said_by_rules_that_need_to_know_it(function, line):
    net, x, _ = task(Steps(function, stem=linear(), f=nn.Tanh(), head=linear()), 4)
    for name, settings in (("tp", {}), ("gait-prop", {"form": "adaptive"}), ("pepita", {})):
        with pytest.raises(UnsupportedNet, match=f"{line}.*name an nn.Sequential that has this as a layer"):
            rules.create(name, net, **settings, sample=x[:1], blocks=("stem", "head"))


@pytest.mark.parametrize("name", ["pepita", "forward-forward"])
def test_rules_with_passes_of_their_own_need_to_know_the_layers(name):
    net, x, _ = tokens()
    with pytest.raises(
        UnsupportedNet, match=r"needs to know the layers of each block, and the block of 'layers.0'"
    ):
        rules.create(name, net, sample=x[:1], blocks=CUTS)


def test_pepita_teaches_named_layers_as_it_teaches_a_chain():
    net, x, y = task(chain(), 5)
    other = Steps(lambda m, x: m.body(x), body=copy.deepcopy(net))
    names = ("body.0", "body.2", "body.4", "body.6")
    grouped = Steps(
        lambda m, x: m.d(m.c(m.b(m.a(x)))),
        **{
            k: nn.Sequential(*copy.deepcopy(net[i : i + 2]))
            for k, i in zip("abcd", (0, 2, 4, 6), strict=True)
        },
    )
    expected = gradients(rules.create("pepita", net), net, x, y)
    found = gradients(rules.create("pepita", grouped, sample=x[:1], blocks=tuple("abcd")), grouped, x, y)
    for one, two in zip(expected.values(), found.values(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(UnsupportedNet, match=r"needs to know the layers of each block"):
        rules.create("pepita", other, sample=x[:1], blocks=names)  # a tanh behind each is in no named module


def test_local_rules_reach_every_layer_with_weights_inside_named_modules():
    net, x, y = tokens()
    rule = rules.create("stdp-association", net, sample=x[:1], blocks=CUTS)
    found = gradients(rule, net, x, y)
    taught = {name.rpartition(".")[0] for name in found}
    assert taught == {"embed", "layers.0.a", "layers.0.b", "layers.1.a", "layers.1.b", "head"}
    norms = {
        f"{name}.{kind}" for name in ("norm", "layers.0.norm", "layers.1.norm") for kind in ("weight", "bias")
    }
    assert (
        rule.untaught(net, x)
        == {"positions", *norms}
        == {n for n, _ in net.named_parameters()} - found.keys()
    )
    # each from its own input and drive alone: a plain program
    inputs = {}
    handles = [
        layer.register_forward_hook(lambda m, args, drive, name=name: inputs.update({name: (args[0], drive)}))
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    output = net(x)
    for handle in handles:
        handle.remove()
    for index, name in enumerate(["embed", "layers.0.a", "layers.0.b", "layers.1.a", "layers.1.b"]):
        h, z = (tensor.detach() for tensor in inputs[name])
        codes = rule.codes(index)
        groups = codes.shape[1]
        wanted = (F.one_hot(y, 3).double() @ codes)[:, None]  # (batch, 1, groups)
        signal = torch.empty_like(z)
        for g in range(groups):
            of_group = z[..., g::groups]
            race = of_group.shape[-1] * torch.softmax(2.0 * of_group, -1)
            signal[..., g::groups] = -0.05 * race * (wanted[..., g, None] - torch.sigmoid(of_group)) / len(x)
        torch.testing.assert_close(found[f"{name}.weight"], torch.einsum("bto,bti->oi", signal, h), **EXACT)
        torch.testing.assert_close(found[f"{name}.bias"], signal.sum((0, 1)), **EXACT)
    plain = torch.autograd.grad(F.cross_entropy(output, y), [net.head.weight, net.head.bias])
    assert_same(
        {k: v for k, v in found.items() if "head" in k},
        dict(zip(("head.weight", "head.bias"), plain, strict=True)),
    )


def test_a_local_rule_refuses_weights_that_no_layer_of_their_own_uses():
    attention = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    net = Steps(lambda m, x: m.head(m.layer(x).mean(1)), layer=attention, head=nn.Linear(4, 3))
    with pytest.raises(
        UnsupportedNet, match=r"'layer.self_attn.*is no layer that a local rule can teach by itself"
    ):
        rules.create("stdp-association", net, sample=torch.zeros(1, 5, 4), blocks=("layer", "head"))
    reader = Steps(lambda m, x: m.lstm(x)[0][:, -1], lstm=nn.LSTM(4, 4, batch_first=True))
    net = Steps(lambda m, x: m.head(m.reader(x)), reader=reader, head=nn.Linear(4, 3))
    with pytest.raises(
        UnsupportedNet, match=r"'reader.lstm' \(LSTM\) in the block 'reader' is no layer that a local"
    ):
        rules.create("stdp-association", net, sample=torch.zeros(1, 5, 4), blocks=("reader", "head"))
    by_hand = Steps(lambda m, x: torch.tanh(m.inner(x) @ m.W), inner=nn.Linear(4, 4))
    by_hand.W = nn.Parameter(torch.randn(4, 4))
    net = Steps(lambda m, x: m.head(m.body(x)), body=by_hand, head=nn.Linear(4, 3))
    with pytest.raises(UnsupportedNet, match=r"weights outside the named modules: 'body.W' \(matmul\)"):
        rules.create("stdp-association", net, sample=torch.zeros(1, 4), blocks=("body", "head"))


def test_a_local_rule_at_cut_points_gives_the_signal_at_the_input():
    net, x, y = tokens()
    rule = rules.create("stdp-association", net, sample=x[:1], blocks=CUTS)
    gradient = rule.input_gradient(net, x, y, F.cross_entropy)
    assert gradient.shape == x.shape
    assert gradient.any()


@pytest.mark.parametrize("name", ["dfa", "drtp", "dtp", "sdtp", "ao-sdtp", "drl", "ddtp-linear", "l-drl"])
def test_rules_learn_on_a_net_that_is_no_chain_and_leave_no_trace(name):
    net, x, y = tokens()
    rule = rules.create(name, net, sample=x[:1], blocks=CUTS)
    optimizer = torch.optim.Adam([*net.parameters(), *rule.parameters()], lr=3e-3)
    start = F.cross_entropy(net(x), y).item()
    for _ in range(60):
        optimizer.zero_grad()
        credit = rule.assign_credit(net, x, y, F.cross_entropy)
        assert torch.equal(credit.output, net(x))
        optimizer.step()
    assert F.cross_entropy(net(x), y).item() < 0.9 * start
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all("forward" not in vars(module) for module in net.modules())
    gradient = rule.input_gradient(net, x, y, F.cross_entropy)
    assert gradient.shape == x.shape


def test_shallow_at_cut_points_teaches_the_last_block_alone():
    net, x, y = tokens()
    found = gradients(rules.create("shallow", net, sample=x[:1], blocks=CUTS), net, x, y)
    assert set(found) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    plain = torch.autograd.grad(F.cross_entropy(net(x), y), [net.get_parameter(name) for name in found])
    assert_same(found, dict(zip(found, plain, strict=True)))


def test_weights_of_examples_and_accumulation_hold_at_cut_points():
    net, x, y = tokens()
    rule = rules.create("dfa", net, sample=x[:1], blocks=CUTS)
    weight = torch.tensor([1.0, 0, 2, 0, 0, 3], dtype=torch.float64)
    net.zero_grad()
    rule.assign_credit(net, x, y, F.cross_entropy, weight=weight)
    together = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    for index in (0, 2, 5):
        part = slice(index, index + 1)
        rule.assign_credit(net, x[part], y[part], F.cross_entropy, weight=weight[index].item() / 6)
    assert_same({name: p.grad for name, p in net.named_parameters()}, together, 1e-12)


def test_a_rule_at_cut_points_goes_through_a_state_dict():
    net, x, y = tokens()
    rule = rules.create("dtp", net, sample=x[:1], blocks=CUTS, seed=1)
    other = rules.create("dtp", net, sample=x[:1], blocks=CUTS, seed=2)
    other.load_state_dict(rule.state_dict())
    assert_same(gradients(other, net, x, y), gradients(rule, net, x, y))


def test_targets_at_cut_points_are_told_by_block():
    net, x, y = tokens()
    rule = rules.create("dtp", net, sample=x[:1], blocks=CUTS)
    assert list(rule.targets(net, x, y, F.cross_entropy)) == ["embed", "layers.0", "layers.1"]
    assert list(rule.reconstruction_losses(net, x)) == ["layers.0", "layers.1"]
