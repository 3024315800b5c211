"""At cut points nets take structures of tensors; several outputs are one error vector, or refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd import UnsupportedNet, UserMistake, diagnostics, rules
from biograd.credit.structures import tensors_in
from tests.credit.cut_nets import Steps
from tests.credit.test_structures import same
from tests.structures import TAKEN, ModelOutput, without_cost

ONE = {
    "tuple": lambda p, n: (p, n),
    "model output": lambda p, n: ModelOutput(logits=p, hidden=(n, {"note": "as it is"})),
}
"""How a net gives one tensor of real numbers in a structure, whole numbers beside it."""
CUTS = ("first", "second", "head")
RULES = [name for name in rules.REGISTRY.built_in() if rules.REGISTRY.find(name).nets == "chain"]
TAKE_TENSORS = ("pepita", "forward-forward")
OF_LAYERS = ("tp", "itp")
"""Rules that undo layers, and need to know those of the first block too."""
SEVERAL = ("dfa", "shallow", "softhebb")


class Net(nn.Module):
    """Two hidden layers and a head on eight numbers, which come in any structure, and a structure around the logits."""

    def __init__(self, give=lambda p, n: p):
        super().__init__()
        self.give = give
        self.first = nn.Sequential(nn.Linear(8, 6, bias=False), nn.LeakyReLU(0.3))
        self.second = nn.Sequential(nn.Linear(6, 6, bias=False), nn.LeakyReLU(0.3))
        self.head = nn.Sequential(nn.Linear(6, 6))

    def forward(self, x=None, right=None, text=""):
        del text
        h = torch.cat([*tensors_in((x, right))], 1)
        return self.give(self.head(self.second(self.first(h))), torch.arange(len(h)))


def batch(size=5):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(size, 8, generator=generator, dtype=torch.float64), torch.arange(size) % 6


def made(give=lambda p, n: p):
    torch.manual_seed(0)
    return Net(give).double()


X, Y = batch()


def logits(output):
    return next(tensor for tensor in tensors_in(output) if tensor.is_floating_point())


def loss_fn(output, y):
    return F.cross_entropy(logits(output), y)


def taught(name, net, x, loss_fn=loss_fn, y=Y, blocks=CUTS, **weight):
    rule = rules.create(name, net, sample=biograd.credit.structures.of_examples(x, 1), blocks=blocks)
    credit = rule.assign_credit(net, x, y, loss_fn, **weight)
    return [*filled(net).values(), *(p.grad for p in rule.parameters())], credit, rule


def filled(net):
    return {name: p.grad for name, p in net.named_parameters()}


@pytest.mark.filterwarnings("ignore:hidden layers of")
@pytest.mark.parametrize("name", [name for name in RULES if name not in (*TAKE_TENSORS, *OF_LAYERS)])
def test_a_structure_teaches_what_its_tensor_does(name):
    expected, plain, _ = taught(name, made(), X)
    for take, give in zip(TAKEN.values(), [*ONE.values(), *ONE.values(), Net().give], strict=True):
        net = made(give)
        found, credit, rule = taught(name, net, take(X))
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        assert credit.loss == plain.loss
        assert same(credit.output, net(X))
        assert not any(tensor.requires_grad for tensor in tensors_in(credit.output))
    assert rule.takes_structures
    with pytest.raises(UserMistake, match=r"the batch has no examples, an Inputs with tensors \(0, 5\)"):
        rule.assign_credit(net, TAKEN["inputs"](X[:0]), Y[:0], loss_fn)


@pytest.mark.parametrize("name", ["dfa", "stdp-association", "dtp"])
def test_the_signal_at_the_input_and_diagnostics_have_the_structure_of_the_input(name):
    plain, net, x = made(), made(ONE["tuple"]), TAKEN["inputs"](X)
    beside, rule = taught(name, plain, X)[2], taught(name, net, x)[2]
    whole = beside.input_gradient(plain, X, Y, loss_fn)
    found = rule.input_gradient(net, x, Y, loss_fn)
    assert torch.equal(torch.cat([*tensors_in(found)], 1), whole)
    assert found.kwargs["text"] == "as it is"
    expected, rows = (
        without_cost(diagnostics.measure(*args, Y, loss_fn)) for args in ((plain, beside, X), (net, rule, x))
    )
    assert [(row["quantity"], row["layer"]) for row in rows] == [
        (r["quantity"], r["layer"]) for r in expected
    ]
    assert [row["value"] for row in rows] == pytest.approx(
        [row["value"] for row in expected], abs=1e-5, nan_ok=True
    )


class Joined(nn.Module):
    def forward(self, x):
        return torch.cat([*tensors_in(x)], 1)


@pytest.mark.parametrize("name", OF_LAYERS)
def test_rules_that_undo_layers_take_a_structure_that_goes_to_the_first_of_them(name):
    beside, net = made(), made(ONE["model output"])
    layers = [beside.first, beside.second, beside.head]
    chain = Steps(lambda m, x: m.head(m.second(m.first(x))), **dict(zip(CUTS, layers, strict=True)))
    net.first.insert(0, Joined())
    net.forward = lambda x: net.give(net.head(net.second(net.first(x))), torch.arange(len(X)))
    expected, found = taught(name, chain, X)[0], taught(name, net, TAKEN["nested"](X))[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", TAKE_TENSORS)
def test_rules_that_need_the_input_as_a_tensor_say_so_when_they_are_made(name):
    with pytest.raises(UserMistake, match=r"needs a batch that is one tensor, and got a dict with tensors"):
        rules.create(name, made(), sample={"x": X[:1]}, blocks=CUTS)


class Senses(nn.Module):
    """Two inputs, each with a layer of its own, a body and two heads, of which one reads an input too."""

    def __init__(self):
        super().__init__()
        self.image, self.numbers = nn.Linear(8, 4), nn.Linear(3, 4)
        self.body, self.policy, self.value = nn.Linear(8, 6), nn.Linear(6, 3), nn.Linear(9, 2)
        self.more = dict

    def forward(self, x):
        seen = torch.tanh(torch.cat([self.image(x["image"]), self.numbers(x["numbers"])], 1))
        h = torch.tanh(self.body(seen))
        value = self.value(torch.cat([h, x["numbers"]], 1)).unflatten(1, (2, 1))
        return {"steps": torch.arange(len(h)), "policy": self.policy(h), "value": value, **self.more()}


SENSES = ("image", "numbers", "body", "policy", "value")


def senses():
    torch.manual_seed(1)
    x = {"image": X, "numbers": torch.randn(5, 3, dtype=torch.float64)}
    return Senses().double(), x, {"class": Y % 3, "value": torch.randn(5, 2, 1, dtype=torch.float64)}


def of_both(output, y):
    return F.cross_entropy(output["policy"], y["class"]) + F.mse_loss(output["value"], y["value"])


def seen_by(net, x):
    """What the body reads and gives, behind their nonlinearities, which belong to the blocks behind."""
    seen = torch.tanh(torch.cat([net.image(x["image"]), net.numbers(x["numbers"])], 1)).detach()
    return seen, torch.tanh(net.body(seen)).detach()


def by_hand(net, x, y, B, weight):
    """δ = B e at hidden layers, e the errors of both outputs behind one another; heads by their own part of e."""
    seen, h = seen_by(net, x)
    beside = torch.cat([h, x["numbers"]], 1)
    policy = (net.policy(h).softmax(1) - F.one_hot(y["class"], 3)) / 5
    value = 2 * (net.value(beside) - y["value"].flatten(1)) / 10
    e = weight[:, None] * torch.cat([policy, value], 1).detach()
    deltas = {name: e @ matrix.t() for name, matrix in B.items()} | {"policy": e[:, :3], "value": e[:, 3:]}
    inputs = {"image": x["image"], "numbers": x["numbers"], "body": seen, "policy": h, "value": beside}
    return {
        f"{name}.{kind}": gradient
        for name, delta in deltas.items()
        for kind, gradient in (("weight", delta.t() @ inputs[name]), ("bias", delta.sum(0)))
    }


@pytest.mark.parametrize(
    "weight", [None, torch.linspace(0, 2, 5, dtype=torch.float64)], ids=["mean", "weights"]
)
def test_dfa_sends_the_errors_of_all_outputs_as_one_vector(weight):
    net, x, y = senses()
    rule = taught("dfa", net, x, of_both, y, SENSES, weight=weight)[2]
    B = dict(zip(("image", "numbers", "body"), (one.B for one in rule.direct.blocks), strict=True))
    assert {name: tuple(one.shape) for name, one in B.items()} == {
        "image": (4, 5),
        "numbers": (4, 5),
        "body": (6, 5),
    }
    expected = by_hand(net, x, y, B, torch.ones(5, dtype=torch.float64) if weight is None else weight)
    torch.testing.assert_close(filled(net), expected, rtol=1e-12, atol=1e-14)


def test_the_signal_at_the_input_comes_through_all_that_read_it():
    net, x, y = senses()
    rule = taught("dfa", net, x, of_both, y, SENSES)[2]
    found = rule.input_gradient(net, x, y, of_both)
    h = seen_by(net, x)[1]
    output = {
        "policy": net.policy(h),
        "value": net.value(torch.cat([h, x["numbers"]], 1)).unflatten(1, (2, 1)),
    }
    exact = torch.autograd.grad(of_both(output, y), [*output.values()])
    e = torch.cat([one.flatten(1) for one in exact], 1)
    image, numbers, _ = (projection.B for projection in rule.direct.blocks)
    beside = e[:, 3:] @ net.value.weight[:, 6:].detach()  # the head that reads the numbers too
    expected = {
        "image": e @ image.t() @ net.image.weight.detach(),
        "numbers": e @ numbers.t() @ net.numbers.weight.detach() + beside,
    }
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_local_signals_at_the_input_come_through_all_layers_that_read_it():
    net, x, y = senses()
    one = Steps(lambda m, x: {"policy": m.net(x)["policy"]}, net=net)
    blocks = ("net.image", "net.numbers", "net.body", "net.policy")
    of_policy = lambda o, y: F.cross_entropy(o["policy"], y)  # noqa: E731
    rule = rules.create("stdp-association", one, sample=x, blocks=blocks, competition=False)
    found = rule.input_gradient(one, x, y["class"], of_policy)
    for index, name in enumerate(("image", "numbers")):
        layer = net.get_submodule(name)
        wanted = (F.one_hot(y["class"], 3).double() @ rule.codes(index)).repeat(1, 4)[:, : layer.out_features]
        delta = 0.05 * (torch.sigmoid(layer(x[name])) - wanted) / 5
        torch.testing.assert_close(found[name], (delta @ layer.weight).detach(), rtol=1e-12, atol=1e-14)


def test_packed_sequences_are_taught_at_cut_points():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 5)

        def forward(self, x):
            return self.lstm(x)[1][0][-1]

    torch.manual_seed(0)
    forward = lambda m, x: {"answers": m.answers(torch.tanh(m.hidden(m.reader(x))))}  # noqa: E731
    net = Steps(forward, reader=Reader(), hidden=nn.Linear(5, 5), answers=nn.Linear(5, 2)).double()
    parts = [torch.randn(size, 3, dtype=torch.float64) for size in (4, 3, 1)]
    x, y = nn.utils.rnn.pack_sequence(parts), torch.tensor([0, 1, 0])
    for name in ("dfa", "dtp"):
        blocks = ("reader", "hidden", "answers")
        found, credit, _ = taught(name, net, x, lambda o, y: F.cross_entropy(o["answers"], y), y, blocks)
        assert all(gradient is not None for gradient in found)
        assert torch.equal(credit.output["answers"], net(x)["answers"])
        whole = {key: gradient.clone() for key, gradient in filled(net).items()}
        net.zero_grad()
        for weight in torch.eye(3, dtype=torch.float64):
            rules.create(name, net, sample=x, blocks=blocks).assign_credit(
                net, x, y, lambda o, y: F.cross_entropy(o["answers"], y), weight=weight
            )
        torch.testing.assert_close(filled(net), whole, rtol=1e-12, atol=1e-14)
        net.zero_grad()


def test_an_output_that_the_loss_does_not_read_has_no_error_and_its_head_learns_nothing():
    net, x, y = senses()
    rule = taught("dfa", net, x, lambda o, y: F.cross_entropy(o["policy"], y["class"]), y, SENSES)[2]
    assert net.value.weight.grad is None
    B = rule.direct.blocks[2].B[:, :3]
    e = (net.policy(seen_by(net, x)[1]).softmax(1) - F.one_hot(y["class"], 3)) / 5
    torch.testing.assert_close(net.body.bias.grad, (e @ B.t()).sum(0).detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["dfa", "shallow"])
def test_all_heads_are_the_last_block_and_learn_by_the_derivative(name):
    net, x, y = senses()
    exact = dict(net.named_parameters())
    heads = [key for key in exact if key.startswith(("policy", "value"))]
    gradients = torch.autograd.grad(of_both(net(x), y), [exact[key] for key in heads])
    rule = taught(name, net, x, of_both, y, SENSES)[2]
    found = filled(net)
    torch.testing.assert_close([found[key] for key in heads], [*gradients], rtol=1e-12, atol=1e-14)
    *hidden, last = rule.chain(net, x)
    assert [block.name for block in hidden] == ["image", "numbers", "body"]
    assert set(last.parameters()) == {exact[key] for key in heads}
    assert (found["body.weight"] is None) == (name == "shallow")


def test_a_head_in_the_middle_is_no_hidden_block_and_one_that_others_read_is():
    parts = {key: nn.Linear(4, 4) for key in ("a", "aside", "top")}
    parts["b"] = nn.Sequential(nn.Tanh(), nn.Linear(4, 4))
    aside = Steps(lambda m, x: (m.a(x), m.aside(m.a(x))), a=parts["a"], aside=parts["aside"])

    def forward(m, x):
        h = torch.tanh(m.below.a(x))
        early = m.below.aside(h)
        h = torch.tanh(m.b(h))
        return {"early": early, "late": m.top(h), "hidden": h}

    net = Steps(forward, below=aside, b=parts["b"], top=parts["top"]).double()
    blocks = ("below.a", "below.aside", "b", "top")
    rule = rules.create("dfa", net, sample=X[:1, :4], blocks=blocks)
    assert [block.name for block in rule.chain(net)] == ["below.a", "b.1", "top"]
    rule.assign_credit(net, X[:, :4], Y, lambda o, y: sum(one.square().mean() for one in o.values()))
    h = torch.tanh(parts["a"](X[:, :4])).detach()
    early = parts["aside"](h)
    torch.testing.assert_close(parts["aside"].weight.grad, (2 * early / early.numel()).t() @ h)
    assert rule.direct.blocks[0].B.shape == (4, 12)
    inner = rules.create("softhebb", _without_biases(net), sample=X[:1, :4], blocks=blocks)
    assert [block.name for block in inner.chain(net)][:2] == ["below.a", "b.1"]


def _without_biases(net):
    for layer in (net.below.a, net.b[1]):
        layer.bias = None
    return net


def test_softhebb_takes_several_outputs_as_hidden_layers_read_none():
    net, x, y = senses()
    for layer in (net.image, net.numbers, net.body):
        layer.bias = None
    found, _, rule = taught("softhebb", net, x, of_both, y, SENSES)
    assert all(gradient is not None for gradient in found)
    heads = [*net.policy.parameters(), *net.value.parameters()]
    exact = torch.autograd.grad(of_both(net(x), y), heads)
    torch.testing.assert_close([p.grad for p in heads], [*exact], rtol=1e-12, atol=1e-14)
    assert rule.untaught(net, x) == set()


@pytest.mark.parametrize("name", [name for name in RULES if name not in (*SEVERAL, *TAKE_TENSORS)])
def test_rules_that_read_one_output_say_so_when_they_are_made(name):
    net, x, _ = senses()
    with pytest.raises(
        UnsupportedNet,
        match=r"the net gives a dict with tensors .* and the rule needs one tensor of real numbers in it",
    ):
        rules.create(name, net, sample={key: part[:1] for key, part in x.items()}, blocks=SENSES)


def test_one_setting_says_which_axis_of_one_output_holds_classes():
    net, x, _ = senses()
    with pytest.raises(UserMistake, match=r"classes='last' says .* and the net gives several"):
        rules.create("dfa", net, sample=x, blocks=SENSES, classes="last")


def test_an_error_after_the_heads_is_that_of_all_of_them_by_their_input():
    net, x, y = senses()
    rule = rules.create("dfa", net, sample=x, blocks=SENSES, error="after")
    rule.assign_credit(net, x, y, of_both)
    a = net.body(seen_by(net, x)[0]).detach().requires_grad_()
    h = torch.tanh(a)
    output = {
        "policy": net.policy(h),
        "value": net.value(torch.cat([h, x["numbers"]], 1)).unflatten(1, (2, 1)),
    }
    (e,) = torch.autograd.grad(of_both(output, y), a)
    expected = (e @ rule.direct.blocks[0].B.t()).sum(0)
    torch.testing.assert_close(net.image.bias.grad, expected, rtol=1e-12, atol=1e-14)


def test_an_output_of_no_examples_is_none_of_the_errors():
    net, x, y = senses()
    net.more = lambda: {"scale": net.value.weight.square().mean(), "state": torch.ones(1, 5, 2)}
    rule = rules.create("dfa", net, sample={key: part[:1] for key, part in x.items()}, blocks=SENSES)
    assert rule.direct.blocks[0].B.shape == (4, 5)
    rule.assign_credit(net, x, y, of_both)
    net.zero_grad()
    with pytest.raises(
        UserMistake, match=r"the loss reads an output \(\), whose first axis does not hold the examples"
    ):
        rule.assign_credit(net, x, y, lambda o, y: of_both(o, y) + o["scale"])
    net.more = dict
    with pytest.raises(
        UnsupportedNet, match=r"of which 2 hold real numbers, and 4 did when the rule was made"
    ):
        rule.assign_credit(net, x, y, of_both)
    assert not any(p.grad is not None for p in net.parameters())


def test_outputs_of_another_size_are_refused():
    def forward(m, x):
        h = m.a(x)
        return m.b(h), m.c(h)

    net = Steps(forward, a=nn.Linear(3, 4), b=nn.Linear(4, 2), c=nn.Linear(4, 2))
    rule = rules.create("dfa", net, sample=torch.ones(1, 6, 3), blocks=("a", "b", "c"))
    rule.assign_credit(net, torch.ones(2, 6, 3), None, lambda o, y: o[0].mean())
    net.zero_grad()
    with pytest.raises(
        UnsupportedNet, match=r"gives 28 numbers an example, and gave 24 when the rule was made"
    ):
        rule.assign_credit(net, torch.ones(2, 7, 3), None, lambda o, y: o[0].mean())
    assert not any(p.grad is not None for p in net.parameters())
    for name in ("shallow", "softhebb"):
        net.a.bias = None
        rules.create(name, net, sample=torch.ones(1, 6, 3), blocks=("a", "b", "c")).assign_credit(
            net, torch.ones(2, 7, 3), None, lambda o, y: o[0].mean()
        )


@pytest.mark.parametrize("form", ["full", "low-rank", "tiled"])
def test_a_block_that_gives_one_row_for_the_whole_batch_is_refused(form):
    x, inputs = {"image": X, "place": torch.ones(5, 3).double()}, {"a": nn.Linear(8, 4), "b": nn.Linear(3, 4)}
    net = Steps(lambda m, x: m.c(m.a(x["image"]) + m.b(x["place"])), **inputs, c=nn.Linear(4, 3)).double()
    rule = rules.create("dfa", net, sample=x, blocks=("a", "b", "c"), form=form)
    with pytest.raises(
        UnsupportedNet, match=r"block 'b' has 1 rows for a batch of 5, and each example is told"
    ):
        rule.assign_credit(net, {**x, "place": x["place"][:1]}, Y % 3, F.cross_entropy)
    assert not any(p.grad is not None for p in net.parameters())


def test_a_last_module_that_the_output_does_not_read_is_left_out():
    net, x, _ = senses()
    of_one = Steps(lambda m, x: m.net(x)["value"], net=net)
    with pytest.raises(
        UnsupportedNet, match=r"does not depend on 'net.policy', .* called last: leave it out of blocks"
    ):
        rules.create("dfa", of_one, sample=x, blocks=tuple(f"net.{name}" for name in SENSES))


@pytest.mark.parametrize("name", ["drtp", "sdtp", "stdp-association"])
def test_targets_that_hidden_layers_aim_at_are_one_tensor(name):
    net = made()
    rule = rules.create(name, net, sample=X[:1], blocks=CUTS)
    with pytest.raises(UserMistake, match=r"aim at the targets, which must be one tensor, and got a dict"):
        rule.assign_credit(net, X, {"class": Y}, lambda o, y: F.cross_entropy(o, y["class"]))
    assert not any(p.grad is not None for p in net.parameters())


def test_a_rule_at_cut_points_goes_through_a_state_dict_and_a_copy():
    net, x, y = senses()
    rule = rules.create("dfa", net, sample=x, blocks=SENSES, seed=1)
    other = rules.create("dfa", net, sample=x, blocks=SENSES, seed=2)
    other.load_state_dict(rule.state_dict())
    found = []
    for one, of in ((rule, net), (copy.deepcopy(other), copy.deepcopy(net))):
        of.zero_grad()
        one.assign_credit(of, x, y, of_both)
        found.append(filled(of))
    torch.testing.assert_close(*found, rtol=0, atol=0)
