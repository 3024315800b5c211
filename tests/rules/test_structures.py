"""Nets with several inputs and outputs are taught as if they had one, or refused before anything is filled."""

import copy
import re

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

import biograd
from biograd import Credit, Rule, UnsupportedNet, UserMistake, diagnostics, rules
from biograd.credit.structures import tensors_in
from tests.credit.test_structures import same
from tests.structures import GIVEN, TAKEN, as_one_tensor, batch, heads, loss_of, split, without_cost

TAKING = [name for name in rules.REGISTRY.built_in() if rules.declared(name)["takes_structures"]]
CHAIN_RULES = [name for name in rules.REGISTRY.built_in() if not rules.declared(name)["takes_structures"]]
X, Y = batch()
PER_EXAMPLE = torch.linspace(0, 2, 6, dtype=torch.float64)


def gradients(*modules):
    return {
        f"{place}.{name}": p.grad
        for place, module in enumerate(modules)
        for name, p in module.named_parameters()
    }


def taught(name, net, x, find, weight=None):
    """What a call adds to the gradients of net and rule, and what it returns."""
    rule = rules.create(name, net)
    credit = rule.assign_credit(net, x, Y, loss_of(find), weight=weight)
    return gradients(net, rule), credit


def test_rules_for_any_net_take_structures():
    assert [name for name in rules.REGISTRY.built_in() if rules.declared(name)["nets"] == "any"] == TAKING


@pytest.mark.parametrize("weight", [None, 0.3, PER_EXAMPLE], ids=["unweighted", "scaled", "by example"])
@pytest.mark.parametrize("name", TAKING)
def test_a_structure_teaches_what_the_same_numbers_in_one_tensor_do(name, weight):
    expected, plain = taught(name, as_one_tensor(), X, split, weight)
    for given, (_, find) in GIVEN.items():
        net = heads(given)
        got, credit = taught(name, net, X, find, weight)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
        assert torch.allclose(credit.loss, plain.loss, rtol=1e-14)
        assert same(credit.output, net(X))
        assert not any(tensor.requires_grad for tensor in tensors_in(credit.output))


@pytest.mark.parametrize("name", TAKING)
def test_inputs_of_any_structure_teach_what_one_tensor_does(name):
    find = GIVEN["tuple"][1]
    expected, _ = taught(name, heads("tuple"), X, find, PER_EXAMPLE)
    for take in TAKEN.values():
        got, _ = taught(name, heads("tuple"), take(X), find, PER_EXAMPLE)
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", TAKING)
def test_a_weight_an_example_refuses_an_output_that_belongs_to_none(name):
    net = heads("tuple")
    net.give = lambda policy, value, _: {"loss": F.cross_entropy(policy, Y["action"]), "value": value}
    rule = rules.create(name, net)

    def of_both(output, y):
        return output["loss"] + output["value"].square().mean()

    with pytest.raises(
        UserMistake, match=r"reads an output \(\), whose first axis does not hold the 6 examples"
    ):
        rule.assign_credit(net, X, Y, of_both, weight=PER_EXAMPLE)
    assert all(gradient is None for gradient in gradients(net, rule).values())
    by_value = rule.assign_credit(net, X, Y, lambda o, _: o["value"].square().mean(), weight=PER_EXAMPLE)
    assert by_value.output["loss"].dim() == 0  # it is not read, and stands in nobody's way
    rule.assign_credit(net, X, Y, of_both, weight=0.5)


def test_without_a_tensor_in_the_batch_a_weight_is_one_number():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(3, 2)

        def forward(self, texts):
            return self.words(torch.tensor([len(text) for text in texts]))

    net, y = Reader(), torch.tensor([0, 1])
    rule = rules.create("bp", net)
    with pytest.raises(UserMistake, match="no tensor in x says how many examples there are"):
        rule.assign_credit(net, ["a", "ab"], y, F.cross_entropy, weight=torch.ones(2))
    rule.assign_credit(net, ["a", "ab"], y, F.cross_entropy, weight=0.5)
    assert net.words.weight.grad is not None


@pytest.mark.parametrize("name", TAKING)
def test_an_output_without_a_known_tensor_is_refused_at_every_call(name):
    net = heads("tuple")
    rule = rules.create(name, net)
    hiding = {"a Bernoulli": torch.distributions.Bernoulli, "a tuple": lambda p: (), "None": lambda p: None}
    for shown, hide in hiding.items():
        net.give = lambda policy, value, _, hide=hide: hide(policy.sigmoid())
        for _ in range(7):
            with pytest.raises(UnsupportedNet, match=f"the net gives {shown}, in which no tensor is seen"):
                rule.assign_credit(net, X, Y, lambda o, _: torch.zeros((), requires_grad=True))
    assert all(gradient is None for gradient in gradients(net, rule).values())


@pytest.mark.parametrize("given", list(GIVEN))
def test_a_loss_that_is_a_sum_is_noticed_in_any_structure(given):
    find, net = GIVEN[given][1], heads(given)

    def summed(output, y):
        return loss_of(find)(output, y) * len(y["action"])

    with pytest.raises(UserMistake, match="the loss is a sum over the batch"):
        rules.create("bp", net).assign_credit(net, X, Y, summed)
    assert all(gradient is None for gradient in gradients(net).values())


@pytest.mark.parametrize("name", ["bp", "fa"])
def test_the_gradient_by_the_input_has_the_structure_of_the_input(name):
    net, find = heads("tuple"), GIVEN["tuple"][1]
    rule = rules.create(name, net)
    whole = rule.input_gradient(net, X, Y, loss_of(find))
    for kind, take in TAKEN.items():
        found = [*tensors_in(rule.input_gradient(net, take(X), Y, loss_of(find)))]
        assert torch.equal(torch.cat(found, 1), whole), kind
    x = biograd.Inputs(X, text="kept", right=None)
    assert rule.input_gradient(net, x, Y, loss_of(find)).kwargs == {"text": "kept", "right": None}
    with pytest.raises(UserMistake, match="needs floating-point numbers, and there are none in a dict"):
        rule.input_gradient(net, {"left": X.long()}, Y, loss_of(find))


@pytest.mark.parametrize("name", ["bp", "kp"])
def test_diagnostics_measure_a_net_of_several_inputs_and_outputs(name):
    one, several = as_one_tensor(), heads("dataclass")
    expected = diagnostics.measure(one, rules.create(name, one), X, Y, loss_of(split))
    x, loss_fn = TAKEN["inputs"](X), loss_of(GIVEN["dataclass"][1])
    rows = diagnostics.measure(several, rules.create(name, several), x, Y, loss_fn)
    assert [(row["quantity"], row["layer"]) for row in rows] == [
        (r["quantity"], r["layer"]) for r in expected
    ]
    values, wanted = ([row["value"] for row in without_cost(found)] for found in (rows, expected))
    assert values == pytest.approx(wanted, abs=1e-5, nan_ok=True)


def test_a_prediction_is_what_the_net_gives():
    net = heads("dict with whole numbers")
    rule = rules.create("fa", net)
    assert same(rule.predict(net, TAKEN["inputs"](X)), net(X))


class Reader(nn.Module):
    """Reads packed sequences, and gives its state beside its answers."""

    def __init__(self):
        super().__init__()
        self.cells, self.answers = nn.LSTM(3, 5), nn.Linear(5, 2)

    def forward(self, x):
        read, (h, c) = self.cells(x)
        return {"answers": self.answers(h[-1]), "state": (h, c), "read": read}


@pytest.mark.parametrize("name", ["bp", "fa"])
def test_packed_sequences_are_examples_that_may_weigh_differently(name):
    torch.manual_seed(0)
    net, y = Reader().double(), torch.tensor([0, 1, 0])
    x = nn.utils.rnn.pack_sequence([torch.randn(size, 3, dtype=torch.float64) for size in (4, 3, 1)])
    rule, taught = rules.create(name, net), []
    for weight in (None, *torch.eye(3, dtype=torch.float64)):
        net.zero_grad()
        output = rule.assign_credit(
            net, x, y, lambda o, y: F.cross_entropy(o["answers"], y), weight=weight
        ).output
        taught.append(gradients(net))
    summed = {key: sum(one[key] for one in taught[1:]) for key in taught[0]}
    torch.testing.assert_close(summed, taught[0], rtol=1e-12, atol=1e-14)
    assert type(output["read"]) is nn.utils.rnn.PackedSequence
    assert not any(tensor.requires_grad for tensor in tensors_in(output))


@pytest.mark.parametrize("name", ["bp", "kp"])
def test_wrappers_pass_structures_on(name):
    expected, find = taught(name, heads("tuple"), X, GIVEN["tuple"][1])[0], GIVEN["tuple"][1]
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        net = heads("tuple")
        wrapped, rule = nn.parallel.DistributedDataParallel(net), rules.create(name, net)
        output = rule.assign_credit(wrapped, TAKEN["inputs"](X), Y, loss_of(find)).output
    finally:
        dist.destroy_process_group()
    assert same(output, net(X))
    torch.testing.assert_close(gradients(net, rule), expected, rtol=0, atol=0)


class FromADict(nn.Module):
    def forward(self, x):
        return x["x"]


class Twice(nn.Module):
    def forward(self, x):
        return x, x


def chain_task(name):
    task = rules.REGISTRY.find(name).examples.tasks["mlp"]
    torch.manual_seed(0)
    return task.net(), *task.batch(6, 0)


@pytest.mark.parametrize("name", CHAIN_RULES)
def test_a_rule_that_needs_one_tensor_says_so_before_anything_is_filled(name):
    net, x, y = chain_task(name)
    rule, kind = rules.create(name, net, sample=x[:1]), rules.REGISTRY.find(name).__name__
    expected = re.escape(
        f"{kind} needs a batch that is one tensor, and got a dict with tensors {tuple(x.shape)}"
    )
    for call in (rule.assign_credit, rule.input_gradient):
        with pytest.raises(UserMistake, match=expected):
            call(net, {"x": x}, y, F.cross_entropy)
    giving = nn.Sequential(*net, Twice())
    with pytest.raises(UnsupportedNet, match=r"gives a tuple with tensors .*, and the rule needs one|Twice"):
        rules.create(name, giving, sample=x[:1]).assign_credit(giving, x, y, F.cross_entropy)
    assert all(gradient is None for gradient in gradients(net, rule).values())


class Plain(Rule):
    """A rule of someone's own, which says nothing of structures."""

    def assign_credit(self, net, x, y, loss_fn, *, weight=None):
        self.entry.begin(self, net, x, weight)
        output = net(x)
        self.entry.look(self, output, y, loss_fn)
        loss = loss_fn(output, y)
        loss.backward()
        return Credit(loss.detach(), output.detach())


def test_a_rule_that_declares_nothing_takes_one_tensor():
    net = nn.Sequential(FromADict(), nn.Linear(8, 4, dtype=torch.float64))
    with pytest.raises(UserMistake, match="Plain needs a batch that is one tensor"):
        Plain().assign_credit(net, {"x": X}, Y["action"], F.cross_entropy)
    net = nn.Sequential(nn.Linear(8, 4, dtype=torch.float64), Twice())
    rule = Plain()
    for _ in range(7):
        with pytest.raises(UnsupportedNet, match="the net gives a tuple"):
            rule.assign_credit(net, X, Y["action"], lambda o, y: F.cross_entropy(o[0], y))
    assert all(gradient is None for gradient in gradients(net).values())


def test_feedback_equal_to_the_weights_is_backpropagation_through_any_structure():
    net, find = heads("model output"), GIVEN["model output"][1]
    expected, _ = taught("bp", copy.deepcopy(net), X, find)
    rule = rules.create("fa", net)
    for key, weight in rule.weights(net).items():
        rule.B.by_name()[key].copy_(weight.detach())
    rule.assign_credit(net, TAKEN["nested"](X), Y, loss_of(find))
    torch.testing.assert_close(gradients(net), expected, rtol=1e-12, atol=1e-14)
