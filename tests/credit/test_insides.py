"""No backpropagation hides inside a block: one weight layer each, or the user's word, and never at the last."""

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import biograd
from biograd import UnsupportedNet, rules
from biograd.credit import blocks
from biograd.credit.chain.insides import weight_layers
from biograd.layers import LocallyConnected2d
from tests.credit.nets import Residual

CHAIN_RULES = [name for name in rules.names() if rules.declared(name)["nets"] == "chain"]
X, Y = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])


def linear() -> nn.Linear:
    return nn.Linear(8, 8)


class Model(nn.Module):
    """Layers in a forward of its own."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers or (linear(), nn.Tanh(), linear()))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Matrices(nn.Module):
    """Two matrices that are no layers."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(8, 4)), nn.Parameter(torch.randn(4, 8))

    def forward(self, x):
        return torch.tanh(x @ self.up) @ self.down


class First(Model):
    """The first of what a module gives."""

    def forward(self, x):
        return self.layers[0](x[:, None])[0].flatten(1)


class Attention(Model):
    def forward(self, x):
        x = x[:, None]
        return self.layers[0](x, x, x)[0].flatten(1)


class Shifted(nn.LayerNorm):
    """A normalisation with a layer of its own, which closes the block before it."""

    def __init__(self) -> None:
        super().__init__(8)
        self.inner = linear()

    def forward(self, input):
        return self.inner(super().forward(input))


def hooked() -> nn.Module:
    net = nn.Sequential(linear(), nn.Tanh(), linear())
    net.register_forward_hook(lambda *_: None)
    return net


SEVERAL: dict[str, tuple[Any, list[str]]] = {
    "a model": (Model, ["1.layers.0", "1.layers.2"]),
    "a nested chain with a hook": (hooked, ["1.0", "1.2"]),
    "bare matrices": (Matrices, ["1.down", "1.up"]),
    "a recurrent layer": (
        lambda: First(nn.GRU(8, 8, batch_first=True)),
        ["1.layers.0.weight_hh_l0", "1.layers.0.weight_ih_l0"],
    ),
    "attention": (
        lambda: Attention(nn.MultiheadAttention(8, 2, batch_first=True)),
        ["1.layers.0.in_proj_weight", "1.layers.0.out_proj"],
    ),
    "a transformer layer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0),
        ["1.self_attn.in_proj_weight", "1.self_attn.out_proj", "1.linear1", "1.linear2"],
    ),
    "a compiled nested chain": (
        lambda: torch.compile(nn.Sequential(linear(), linear()), backend="eager"),
        ["1._orig_mod.0", "1._orig_mod.1"],
    ),
}


def around(block: nn.Module) -> nn.Module:
    return nn.Sequential(linear(), block, nn.Linear(8, 3))


@pytest.mark.parametrize("name", SEVERAL)
def test_a_block_of_several_weight_layers_is_refused_by_name_with_what_would_do(name):
    torch.manual_seed(0)
    make, layers = SEVERAL[name]
    net = around(make())
    assert weight_layers(blocks(net)[1]) == layers
    with pytest.raises(
        UnsupportedNet, match=rf"the block '1' \(\w+\) has {len(layers)} weight layers"
    ) as caught:
        biograd.DirectFeedbackAlignment(net)
    said = str(caught.value)
    assert all(layer in said for layer in layers)
    assert "or write inside='exact'" in said
    assert "Rules for any net: bp, fa" in said
    assert ("take the hooks off '1'" in said) == (name == "a nested chain with a hook")
    assert "\n" not in said
    biograd.DirectFeedbackAlignment(net, inside="exact")


def test_a_layer_inside_a_normalisation_counts_for_the_block_that_it_closes():
    net = around(nn.Tanh())
    net[1] = Shifted()
    with pytest.raises(UnsupportedNet, match=r"'0' \(Linear\) has 2 weight layers, 0, Shifted.inner"):
        biograd.Shallow(net)


@pytest.mark.parametrize("rule", CHAIN_RULES)
@pytest.mark.parametrize("inside", [None, "exact"])
def test_no_rule_takes_a_model_in_a_sequential_whatever_is_written(rule, inside):
    model = Model(linear(), nn.Tanh(), linear(), nn.Tanh(), nn.Linear(8, 3))
    with pytest.raises(
        UnsupportedNet, match=r"'0' \(Model\) has 3 weight layers.*last block may never"
    ) as caught:
        rules.create(rule, nn.Sequential(model), sample=X[:1], inside=inside)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", CHAIN_RULES)
def test_every_rule_for_chains_refuses_a_backbone_and_its_head(rule):
    with pytest.raises(UnsupportedNet, match=r"'0' \(Model\) has 2 weight layers, 0.layers.0, 0.layers.2"):
        rules.create(rule, nn.Sequential(Model(), nn.Linear(8, 3)), sample=X[:1])


def test_an_embedding_below_a_layer_is_a_weight_layer_too():
    (block,) = blocks(nn.Sequential(Model(nn.Embedding(3, 8), linear())))
    assert weight_layers(block) == ["0.layers.0", "0.layers.1"]


def test_all_blocks_are_named_at_once_and_a_long_list_is_cut():
    net = nn.Sequential(linear(), *(Model() for _ in range(5)), nn.Linear(8, 3))
    with pytest.raises(UnsupportedNet, match=r"several blocks: '1' .*, '2' .*, '3' .* and 2 more; errors"):
        biograd.Shallow(net)


def test_with_the_users_word_hidden_blocks_are_taught_as_wholes():
    torch.manual_seed(0)
    net = around(Model())
    rule = biograd.DirectFeedbackAlignment(net, inside="exact")
    rule.assign_credit(net, X, Y, F.cross_entropy)
    below = torch.zeros_like(X) + net[0](X).detach()
    output = net(X)
    (e,) = torch.autograd.grad(F.cross_entropy(output, Y), output)
    signal = e @ rule.direct.blocks[1].B.T
    expected = torch.autograd.grad(net[1](below), list(net[1].parameters()), signal)
    for parameter, gradient in zip(net[1].parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_another_word_is_refused():
    with pytest.raises(biograd.UserMistake, match="setting 'inside' got 'roughly'"):
        rules.create("shallow", around(nn.Tanh()), inside="roughly")


class Gain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(8))

    def forward(self, x):
        return x * self.gain.view(1, 8)


def old(norm: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # in many nets still
        return norm(linear())


ONE: dict[str, Any] = {
    "a locally connected layer, its bias by position": lambda: LocallyConnected2d(1, 1, 2, (3, 3)),
    "a layer with spectral_norm": lambda: parametrizations.spectral_norm(linear()),
    "a layer with weight_norm": lambda: parametrizations.weight_norm(linear()),
    "a layer with an orthogonal weight": lambda: parametrizations.orthogonal(linear()),
    "a layer with the older weight_norm": lambda: old(nn.utils.weight_norm),
    "a layer with the older spectral_norm": lambda: old(nn.utils.spectral_norm),
    "a pruned layer": lambda: prune.random_unstructured(linear(), "weight", 0.3),
    "a unit of one layer, a norm and a gain": lambda: Model(
        nn.LayerNorm([6, 8]), linear(), Gain(), nn.PReLU()
    ),
    "a skip around one layer": lambda: Model(linear()),
}


@pytest.mark.parametrize("name", ONE)
def test_what_has_one_weight_layer_is_a_block_as_it_is(name):
    (block,) = blocks(nn.Sequential(ONE[name]()))
    assert len(weight_layers(block)) == 1


def test_weights_that_a_parametrisation_learns_for_a_layer_are_that_layers_one():
    class LowRank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.A, self.B = nn.Parameter(torch.randn(8, 2)), nn.Parameter(torch.randn(2, 8))

        def forward(self, W):
            return W + self.A @ self.B

    layer = linear()
    parametrize.register_parametrization(layer, "weight", LowRank())
    net = around(layer)
    assert weight_layers(blocks(net)[1]) == ["1"]
    biograd.DirectFeedbackAlignment(net).assign_credit(net, X, Y, F.cross_entropy)


class Again(nn.Module):
    """One layer, or one bare matrix, used in a loop."""

    def __init__(self, times: int, how: str) -> None:
        super().__init__()
        self.times, self.how, self.layer = times, how, linear()
        self.layer.requires_grad_(how != "frozen")

    def forward(self, x):
        for _ in range(self.times):
            W = self.layer.weight
            if self.how == "matmul":
                x = torch.tanh(x @ W.t())
            elif self.how == "operator":
                x = torch.ops.aten.mm(x, W.clone())
            elif self.how == "broadcast":
                x = (x[:, None, :] * W[None]).sum(-1)
            else:
                x = torch.tanh(self.layer(x))
        return x


@pytest.mark.parametrize("how", ["layer", "matmul", "operator", "broadcast"])
@pytest.mark.parametrize("rule", ["dfa", "shallow"])
def test_a_layer_that_is_used_twice_is_refused_at_the_first_call(how, rule):
    torch.manual_seed(0)
    net, once = around(Again(2, how)), around(Again(1, how))
    made = rules.create(rule, net)
    with pytest.raises(
        UnsupportedNet, match=r"'1' \(Again\) multiplies by weights 2 times.*or write inside='exact'"
    ):
        made.assign_credit(net, X, Y, F.cross_entropy)
    assert all(p.grad is None for p in net.parameters())
    rules.create(rule, net, inside="exact").assign_credit(net, X, Y, F.cross_entropy)
    rules.create(rule, once).assign_credit(once, X, Y, F.cross_entropy)


class Listed(nn.Module):
    """Two matrices that no module holds."""

    def __init__(self) -> None:
        super().__init__()
        self.held = nn.Linear(8, 8)
        self.listed = [nn.Parameter(torch.randn(8, 8))]

    def forward(self, x):
        return torch.tanh(self.held(x)) @ self.listed[0]


@pytest.mark.parametrize("rule", ["dfa", "shallow"])
def test_matrices_that_learn_and_are_held_in_a_list_are_weights(rule):
    net = around(Listed())
    with pytest.raises(UnsupportedNet, match=r"'1' \(Listed\) multiplies by weights 2 times"):
        rules.create(rule, net, sample=X[:1]).assign_credit(net, X, Y, F.cross_entropy)


@pytest.mark.parametrize("backbone", [Model(), Again(2, "layer")], ids=["several layers", "one layer twice"])
@pytest.mark.parametrize("rule", ["dfa", "drtp", "shallow"])
def test_a_frozen_backbone_may_hold_any_layers_and_the_rest_learns_as_from_its_features(rule, backbone):
    torch.manual_seed(0)
    head = [linear(), nn.Tanh(), nn.Linear(8, 3)]
    net = nn.Sequential(backbone.requires_grad_(False), *head)
    rules.create(rule, net, sample=X[:1]).assign_credit(net, X, Y, F.cross_entropy)
    got = [None if p.grad is None else p.grad.clone() for p in net[1:].parameters()]
    assert all(p.grad is None for p in backbone.parameters())
    alone = nn.Sequential(*head)
    alone.zero_grad()
    with torch.no_grad():
        features = backbone(X)
    rules.create(rule, alone, sample=X[:1]).assign_credit(alone, features, Y, F.cross_entropy)
    for gradient, p in zip(got[-2:], list(alone.parameters())[-2:], strict=True):
        torch.testing.assert_close(gradient, p.grad)


@pytest.mark.parametrize("backbone", [Model(), Again(2, "layer")], ids=["several layers", "one layer twice"])
def test_a_backbone_that_is_thawed_later_is_refused_then(backbone):
    net = nn.Sequential(backbone.requires_grad_(False), linear(), nn.Tanh(), nn.Linear(8, 3))
    rule = biograd.DirectFeedbackAlignment(net, X[:1])
    rule.assign_credit(net, X, Y, F.cross_entropy)
    backbone.requires_grad_(True)
    with pytest.raises(UnsupportedNet, match="errors would be backpropagated inside"):
        rule.assign_credit(net, X, Y, F.cross_entropy)


def test_a_last_block_that_uses_a_layer_twice_is_refused_always():
    net = nn.Sequential(linear(), nn.Tanh(), Again(2, "layer"))
    with pytest.raises(UnsupportedNet, match="last block may never"):
        biograd.Shallow(net, inside="exact").assign_credit(net, X, X, F.mse_loss)


def test_a_nested_chain_with_a_hook_that_holds_one_layer_twice_is_seen_too():
    layer = linear()
    twice = nn.Sequential(layer, nn.Tanh(), layer)
    twice.register_forward_hook(lambda *_: None)
    net = around(twice)
    with pytest.raises(UnsupportedNet, match="multiplies by weights 2 times"):
        biograd.Shallow(net).assign_credit(net, X, Y, F.cross_entropy)


class Counted(nn.Module):
    """A layer that counts how often it runs, and draws."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.runs = linear(), nn.BatchNorm1d(8), []

    def forward(self, x):
        self.runs.append(len(x))
        self.seen = len(self.runs)
        return F.dropout(self.norm(self.layer(x)), 0.5, self.training)


def test_looking_costs_one_run_at_the_first_call_and_leaves_buffers_and_random_numbers_alone():
    torch.manual_seed(0)
    net, other = around(Counted()), around(Counted())
    other.load_state_dict(net.state_dict())
    rule, looked = biograd.Shallow(net), biograd.Shallow(other, inside="exact")
    torch.manual_seed(1)
    output = rule.assign_credit(net, X, Y, F.cross_entropy).output
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(output, looked.assign_credit(other, X, Y, F.cross_entropy).output)
    assert torch.equal(state, torch.get_rng_state())
    for (name, buffer), same in zip(net.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(buffer, same), name
    runs: Any = net[1].runs
    assert len(runs) == 2
    rule.assign_credit(net, X, Y, F.cross_entropy)
    assert len(runs) == 3


def test_a_chain_of_known_layers_is_not_run_once_more():
    net = nn.Sequential(linear(), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Unflatten(1, (8,)), nn.Linear(8, 3))
    calls = []
    net[0].register_forward_hook(lambda *_: calls.append(1))
    biograd.Shallow(net).assign_credit(net, X, Y, F.cross_entropy)
    assert calls == [1]


def test_what_a_compiled_part_does_is_looked_at_as_plain_python():
    torch._dynamo.reset()
    again = Again(2, "layer")
    again.compile(backend="eager")
    net = around(again)
    with pytest.raises(UnsupportedNet, match="multiplies by weights 2 times"):
        biograd.Shallow(net).assign_credit(net, X, Y, F.cross_entropy)


def test_a_hook_that_is_put_on_a_nested_chain_later_is_named():
    inner = nn.Sequential(linear(), nn.Tanh(), linear())
    net = nn.Sequential(inner, nn.Linear(8, 3))
    rule = biograd.Shallow(net)
    rule.assign_credit(net, X, Y, F.cross_entropy)
    handle = inner.register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedNet, match="take the hooks off '0'"):
        rule.assign_credit(net, X, Y, F.cross_entropy)
    handle.remove()
    rule.assign_credit(net, X, Y, F.cross_entropy)


def test_a_unit_of_two_layers_is_named_with_its_layers():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), Residual(2), nn.Flatten(), nn.Linear(8, 3))
    with pytest.raises(UnsupportedNet, match=r"'1' \(Residual\) has"):
        biograd.Shallow(net)


def _twice(net: nn.Module) -> nn.Module:
    net.register_forward_hook(lambda layer, args, output: F.linear(output, layer.weight))
    return net


UNSEEN = {
    "a hook on a plain layer": lambda: _twice(linear()),
    "a fixed matrix": lambda: Model(linear(), Fixed()),
}


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.randn(8, 8))

    def forward(self, x):
        return x @ self.matrix


@pytest.mark.parametrize("name", UNSEEN)
def test_what_the_documentation_says_is_not_counted_is_not_counted(name):
    net = around(UNSEEN[name]())
    biograd.DirectFeedbackAlignment(net).assign_credit(net, X, Y, F.cross_entropy)
